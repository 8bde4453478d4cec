"""Backups of a station on SQLite: made while it runs, verified, and put back."""
