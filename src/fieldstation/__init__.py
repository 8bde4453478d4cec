"""Fieldstation: one self-hosted station for everything a team runs in the field."""

__version__ = "0.1.0"
