"""Puts a session into a browser's cookies and takes it out again."""

from starlette.responses import Response

from fieldstation.core.settings import Settings
from fieldstation.domains.identity.access import REFRESH_COOKIE, SESSION_COOKIE
from fieldstation.domains.identity.schemas.credentials import TokensRead

REFRESH_PATH = "/api/v1/auth"
SECONDS_PER_DAY = 86_400


def set_cookies(response: Response, tokens: TokensRead, settings: Settings) -> None:
    """Set cookies that scripts cannot read and other sites' forms do not send."""
    secure = settings.station.environment == "production"
    response.set_cookie(
        SESSION_COOKIE,
        tokens.access_token,
        max_age=tokens.expires_in,
        path="/",
        secure=secure,
        httponly=True,
        samesite="lax",
    )
    response.set_cookie(
        REFRESH_COOKIE,
        tokens.refresh_token,
        max_age=settings.auth.refresh_token_expire_days * SECONDS_PER_DAY,
        path=REFRESH_PATH,
        secure=secure,
        httponly=True,
        samesite="lax",
    )


def clear_cookies(response: Response) -> None:
    response.delete_cookie(SESSION_COOKIE, path="/", httponly=True, samesite="lax")
    response.delete_cookie(REFRESH_COOKIE, path=REFRESH_PATH, httponly=True, samesite="lax")
