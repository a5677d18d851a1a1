"""Bytes in and out: photos, videos, mask files, JSON lines. Nothing here knows a model."""
