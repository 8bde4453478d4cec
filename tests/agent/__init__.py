"""The agent: its parts, and the process against real brokers."""
