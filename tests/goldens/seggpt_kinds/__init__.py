"""Runners of SegGPT's goldens, by what they look at."""
