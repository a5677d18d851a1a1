"""Protocols: a dataset and a predictor (or a folder of results) become rows, rows become a report."""
