"""Runners for the kinds of SEEM goldens."""
