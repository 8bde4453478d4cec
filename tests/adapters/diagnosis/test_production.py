"""Checks for production fail on each thing that strangers could misuse."""

import secrets

import pytest

from fieldstation.adapters.diagnosis.production import check_production
from fieldstation.adapters.diagnosis.report import Verdict
from fieldstation.core.settings import read_settings

SOUND = {
    "ENVIRONMENT": "production",
    "SECRET_KEY": secrets.token_urlsafe(48),
    "CORS_ORIGINS": "https://console.example.org",
    "API_PUBLIC_URL": "https://station.example.org",
}


def verdicts(**environment: str) -> dict[str, Verdict]:
    settings = read_settings({**SOUND, **environment})
    return {check.name: check.verdict for check in check_production(settings)}


def test_sound_settings_pass() -> None:
    assert set(verdicts().values()) == {Verdict.OK}
    assert verdicts(API_PUBLIC_URL="", TLS_CERT_FILE="station.pem")["encryption"] is Verdict.OK


@pytest.mark.parametrize(
    ("name", "environment", "verdict"),
    [
        ("environment", {"ENVIRONMENT": "development"}, Verdict.FAILURE),
        ("secret key", {"ENVIRONMENT": "test", "SECRET_KEY": ""}, Verdict.FAILURE),
        ("secret key", {"ENVIRONMENT": "test", "SECRET_KEY": "short"}, Verdict.FAILURE),
        ("secret key", {"SECRET_KEY": "a" * 64}, Verdict.FAILURE),
        ("secret key", {"SECRET_KEY": "Change-me-in-production-0123456789"}, Verdict.FAILURE),
        ("origins", {"ENVIRONMENT": "test", "CORS_ORIGINS": "*"}, Verdict.FAILURE),
        ("encryption", {"API_PUBLIC_URL": "http://station.example.org"}, Verdict.FAILURE),
        ("registration", {"REGISTRATION": "open"}, Verdict.WARNING),
    ],
)
def test_each_unsound_setting_is_told(
    name: str, environment: dict[str, str], verdict: Verdict
) -> None:
    assert verdicts(**environment)[name] is verdict


def test_no_check_repeats_the_secret() -> None:
    secret = "a" * 64
    settings = read_settings({**SOUND, "SECRET_KEY": secret})

    assert all(
        secret not in f"{check.detail}{check.advice}" for check in check_production(settings)
    )
