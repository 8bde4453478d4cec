"""Backups of SQLite stations."""
