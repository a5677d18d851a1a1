"""Sizes for people."""

from __future__ import annotations


def words(size: int) -> str:
    """`size` bytes in words: 659 MB, 1.37 GB; decimal units as the hub shows them."""
    if size < 1000:
        return f"{size} B"
    value, unit = float(size), "B"
    for unit in ("kB", "MB", "GB", "TB"):  # noqa: B007
        value /= 1000
        if value < 999.5:
            break
    digits = 0 if value >= 99.5 else 1 if value >= 9.95 else 2
    return f"{value:.{digits}f} {unit}"
