"""The ``agent`` command; it lives with the agent, which starts without the rest of the station."""

from fieldstation.agent.command import agent

__all__ = ["agent"]
