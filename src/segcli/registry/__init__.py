"""Which weights: the entries of weights.toml, where their files are, and how they are opened (strictly)."""
