"""Other paths of the same routes, as the source documents name them: one table.

The front door rewrites an alias before anything looks at the path, so both share their counters.
"""

ALIASES: dict[str, str] = {
    "/api/data/export": "/api/v1/data/export",
    "/health": "/api/v1/health",
    "/token": "/api/v1/auth/token",
    "/v1/auth/login": "/api/v1/auth/login",
    "/v1/auth/me": "/api/v1/auth/me",
    "/v1/auth/refresh": "/api/v1/auth/refresh",
}
