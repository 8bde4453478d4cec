"""Benchmarks: the station and its peers, side by side, as ratios from one run."""
