"""Recorded inputs and outputs of the published systems, and the runner that compares ours with them."""
