"""Order and survival: read ahead, encode in batches, decode asks, write behind, and never lose work."""
