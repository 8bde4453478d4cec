"""The HTTP routes of identity, gathered for the application."""

from fieldstation.domains.identity.routes import keys, organizations, sessions, users

routers = (sessions.router, keys.router, users.router, organizations.router)
