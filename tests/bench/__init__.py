"""The pure parts of the benchmarks: what they send, how they count, how they judge."""
