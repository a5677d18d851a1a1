"""Backbones that systems share."""
