"""Runners of PSALM's goldens, a module for each part of the network."""
