"""Other paths of the same routes, as the source documents name them: one table."""

from starlette.types import ASGIApp, Receive, Scope, Send

ALIASES: dict[str, str] = {
    "/health": "/api/v1/health",
    "/token": "/api/v1/auth/token",
    "/v1/auth/login": "/api/v1/auth/login",
    "/v1/auth/me": "/api/v1/auth/me",
    "/v1/auth/refresh": "/api/v1/auth/refresh",
}


class Aliases:
    """Serve an alias by its canonical route."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        canonical = ALIASES.get(scope.get("path", ""))
        if canonical is not None:
            scope = {**scope, "path": canonical, "raw_path": canonical.encode()}
        await self.app(scope, receive, send)
