"""The agent: a device process that reports its host's own metrics to a station."""
