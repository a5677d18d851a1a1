"""seg: a Unix-style command-line toolkit that makes masks."""

__version__ = "0.1.0"
