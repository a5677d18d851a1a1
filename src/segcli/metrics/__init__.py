"""Numpy in, numbers out: the definitions of the benchmarks, equal to the official tools on their own corner cases."""
