"""Checks that matter once strangers can reach the station."""

from fieldstation.adapters.diagnosis.report import Check, failure, ok, warning
from fieldstation.core.settings import SECRET_CHARACTERS_MIN, Settings

DISTINCT_CHARACTERS_MIN = 12
PLACEHOLDERS = ("change", "secret", "example", "password", "default", "your")


def check_production(settings: Settings) -> list[Check]:
    return [
        check_environment(settings),
        check_secret(settings),
        check_origins(settings),
        check_encryption(settings),
        check_registration(settings),
    ]


def check_environment(settings: Settings) -> Check:
    found = settings.station.environment
    if found != "production":
        return failure("environment", f"ENVIRONMENT is {found}", "Set ENVIRONMENT=production.")
    return ok("environment", "ENVIRONMENT is production")


def check_secret(settings: Settings) -> Check:
    name = "secret key"
    advice = "Make one: python -c 'import secrets; print(secrets.token_urlsafe(48))'"
    if settings.auth.secret_key is None:
        return failure(name, "SECRET_KEY is not set", advice)
    secret = settings.auth.secret_key.get_secret_value()
    if len(secret) < SECRET_CHARACTERS_MIN:
        return failure(name, f"SECRET_KEY has under {SECRET_CHARACTERS_MIN} characters", advice)
    if len(set(secret)) < DISTINCT_CHARACTERS_MIN or any(
        word in secret.lower() for word in PLACEHOLDERS
    ):
        return failure(name, "SECRET_KEY looks like a placeholder, not like chance", advice)
    return ok(name, f"SECRET_KEY has {SECRET_CHARACTERS_MIN} characters or more")


def check_origins(settings: Settings) -> Check:
    if "*" in settings.http.allowed_origins:
        return failure(
            "origins", "CORS_ORIGINS lets every site in", "Name the sites of your own pages."
        )
    return ok("origins", f"CORS_ORIGINS names {len(settings.http.allowed_origins)} sites")


def check_encryption(settings: Settings) -> Check:
    if settings.http.tls_cert_file is not None:
        return ok("encryption", "The station itself speaks TLS")
    if (settings.station.public_url or "").startswith("https://"):
        return ok("encryption", f"A proxy speaks TLS at {settings.station.public_url}")
    return failure(
        "encryption",
        "Neither TLS_CERT_FILE nor an https API_PUBLIC_URL is set: passwords travel readable",
        "Set TLS_CERT_FILE and TLS_KEY_FILE, or put a TLS proxy before it and set API_PUBLIC_URL.",
    )


def check_registration(settings: Settings) -> Check:
    if settings.registration == "open":
        return warning("registration", "Anybody may register", "Set REGISTRATION=invite or closed.")
    return ok("registration", f"REGISTRATION is {settings.registration}")
