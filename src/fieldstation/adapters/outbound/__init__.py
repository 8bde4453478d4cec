"""Requests to hosts that somebody else named: only to public addresses, bounded in every way."""
