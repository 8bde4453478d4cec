"""Backups of a station on SQLite: made while it runs, verified, and put back."""

from fieldstation.adapters.sqlite_backup.creation import create_backup

__all__ = ["create_backup"]
