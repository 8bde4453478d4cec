"""Settings are read from every documented name, and refused without repeating a secret."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from fieldstation.core.settings import (
    SECRET_CHARACTERS_MIN,
    Settings,
    SettingsError,
    environment_names,
    field_names,
    field_section,
    names_by_field,
    read_settings,
)

SECRET = "correct-horse-battery-staple-7319"
OTHERS: dict[str, str] = {
    "station.environment": "test",
    "station.debug": "true",
    "station.data_dir": "/var/lib/elsewhere",
    "station.public_url": "https://field.example.org",
    "station.organization": "harbour",
    "station.node_id": "node-7",
    "http.host": "192.0.2.1",
    "http.allowed_origins": "https://a.example.org",
    "http.tls_cert_file": "/etc/cert.pem",
    "http.tls_key_file": "/etc/key.pem",
    "http.metrics_token": SECRET,
    "http.https_redirect": "true",
    "http.trusted_proxies": "192.0.2.0/24",
    "outbound.allowed": "192.0.2.0/24",
    "browser.cors_enabled": "false",
    "browser.cors_credentials": "false",
    "browser.csp_enabled": "false",
    "browser.hsts_enabled": "false",
    "browser.frame_options": "SAMEORIGIN",
    "tracing.correlation": "false",
    "tracing.timing": "false",
    "tracing.endpoint": "http://192.0.2.1:4318",
    "limits.enabled": "false",
    "limits.address": "7/hour",
    "limits.user": "7/hour",
    "limits.device": "7/hour",
    "limits.keys_max": "700",
    "database.url": "sqlite:////srv/station.db",
    "database.telemetry_url": "sqlite:////srv/telemetry.db",
    "auth.secret_key": SECRET,
    "auth.previous_secret_keys": SECRET,
    "auth.registration": "closed",
    "auth.password_memory_kib": "64",
    "telemetry.queue_readings_max": "700",
    "mqtt.enabled": "false",
    "mqtt.host": "192.0.2.1",
    "mqtt.tls_cert_file": "/etc/mqtt-cert.pem",
    "mqtt.tls_key_file": "/etc/mqtt-key.pem",
    "log.level": "ERROR",
    "log.format": "json",
}
"""A value other than the default for each field; numbers take 7."""
NUMBER = "7"
CASES = [(path, name) for path, names in names_by_field().items() for name in names]


def value_of(settings: Settings, path: str) -> Any:
    section, field = path.split(".")
    found = getattr(getattr(settings, section), field)
    if isinstance(found, SecretStr):
        return found.get_secret_value()
    return found


@pytest.mark.parametrize(("path", "name"), CASES)
def test_every_name_and_alias_is_read(path: str, name: str) -> None:
    given = OTHERS.get(path, NUMBER)
    default = value_of(read_settings({}), path)
    found = value_of(read_settings({name: given}), path)
    assert found != default
    texts = found if isinstance(found, tuple) else (found,)
    wanted = {"true": "True", "false": "False", "7": "7.0"}.get(given, given)
    assert [str(text) for text in texts] in ([wanted], [given])


@pytest.mark.parametrize("path", [p for p, names in names_by_field().items() if len(names) > 1])
def test_the_canonical_name_wins_over_its_alias(path: str) -> None:
    canonical, *aliases = names_by_field()[path]
    other = {"station.environment": "production", "log.level": "DEBUG"}.get(path, "8")
    for alias in aliases:
        alone = read_settings({canonical: OTHERS.get(path, NUMBER)})
        both = read_settings({canonical: OTHERS.get(path, NUMBER), alias: other})
        assert value_of(both, path) == value_of(alone, path)


def test_no_name_is_read_by_two_fields_except_what_is_shared() -> None:
    names = environment_names()
    twice = {name for name in names if names.count(name) > 1}
    assert twice == {"REDIS_URL", "TLS_CERT_FILE", "TLS_KEY_FILE"}


@pytest.mark.parametrize(
    "text",
    [
        "https://a.example.org,https://b.example.org",
        " https://a.example.org , https://b.example.org , ",
        json.dumps(["https://a.example.org", "https://b.example.org"]),
    ],
)
def test_lists_are_read_as_json_and_with_commas(text: str) -> None:
    settings = read_settings({"CORS_ORIGINS": text})
    assert settings.http.allowed_origins == ("https://a.example.org", "https://b.example.org")


def test_the_names_and_values_of_source_004_are_taken() -> None:
    log = read_settings({"LOG_LEVEL": "CRITICAL", "LOG_FORMAT": "text"}).log
    assert (log.level, log.format) == ("CRITICAL", "console")
    off = {"ENABLE_TIMING_MIDDLEWARE": "false", "ENABLE_CORRELATION_ID": "false"}
    tracing = read_settings(off).tracing
    assert (tracing.timing, tracing.correlation) == (False, False)


def test_an_empty_variable_counts_as_not_set() -> None:
    assert read_settings({"PORT": "", "CORS_ORIGINS": ""}) == read_settings({})


@pytest.mark.parametrize("name", ["SECRET_KEY", "JWT_SECRET"])
def test_a_secret_may_stand_in_a_file(tmp_path: Path, name: str) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    found = read_settings({f"{name}_FILE": str(file)}).auth.secret_key
    assert found is not None
    assert found.get_secret_value() == SECRET


def test_any_setting_may_stand_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("sqlite:////srv/station.db")
    assert read_settings({"DATABASE_URL_FILE": str(file)}).database.url == file.read_text()


def test_a_certificate_file_is_a_setting_and_not_a_secret_to_read(tmp_path: Path) -> None:
    file = tmp_path / "not-there.pem"
    assert read_settings({"TLS_CERT_FILE": str(file)}).http.tls_cert_file == file


def test_a_missing_secret_file_is_one_sentence() -> None:
    with pytest.raises(SettingsError, match=r"^SECRET_KEY_FILE: cannot read /not/there \(No such"):
        read_settings({"SECRET_KEY_FILE": "/not/there"})


def test_a_secret_file_that_is_no_text_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(b"\xff\xfe\x00binary")
    with pytest.raises(SettingsError, match="SECRET_KEY_FILE") as refused:
        read_settings({"SECRET_KEY_FILE": str(file)})
    assert "\n" not in str(refused.value)


def production(**more: str) -> dict[str, str]:
    return {"ENVIRONMENT": "production", "SECRET_KEY": "x" * SECRET_CHARACTERS_MIN, **more}


def test_production_starts_with_a_strong_secret() -> None:
    settings = read_settings(production(CORS_ORIGINS="https://a.example.org"))
    assert settings.station.environment == "production"
    assert settings.registration == "invite"


@pytest.mark.parametrize("secret", ["", "x" * (SECRET_CHARACTERS_MIN - 1)])
def test_production_refuses_a_missing_or_weak_secret(secret: str) -> None:
    with pytest.raises(SettingsError, match="SECRET_KEY must have at least 32") as refused:
        read_settings(production(SECRET_KEY=secret))
    assert not secret or secret not in str(refused.value)


def test_production_refuses_passwords_that_are_cheap_to_guess() -> None:
    with pytest.raises(SettingsError, match="PASSWORD_MEMORY_KIB"):
        read_settings(production(PASSWORD_MEMORY_KIB="19455"))
    read_settings(production(PASSWORD_MEMORY_KIB="19456"))


def test_production_refuses_origins_without_a_name() -> None:
    with pytest.raises(SettingsError, match="CORS_ORIGINS must name its origins"):
        read_settings(production(CORS_ORIGINS="*"))


@pytest.mark.parametrize(
    ("environment", "registration", "expected"),
    [
        ("development", "", "open"),
        ("production", "", "invite"),
        ("production", "open", "open"),
        ("test", "closed", "closed"),
    ],
)
def test_registration_follows_the_environment_unless_it_is_set(
    environment: str, registration: str, expected: str
) -> None:
    found = read_settings(production(ENVIRONMENT=environment, REGISTRATION=registration))
    assert found.registration == expected


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PORT", f"80{SECRET}"),
        ("PORT", "70000"),
        ("ENVIRONMENT", SECRET),
        ("LOG_LEVEL", SECRET),
        ("NODE_ID", f"a b {SECRET}"),
        ("PREVIOUS_SECRET_KEYS", f'["{SECRET}'),
        ("PREVIOUS_SECRET_KEYS", f"[1, 2, {{}}]{SECRET}"),
        ("PREVIOUS_SECRET_KEYS", f'[["{SECRET}"]]'),
        ("DATABASE_POOL_SIZE", "0"),
        ("ENABLE_MQTT", SECRET),
    ],
)
def test_a_refusal_names_the_setting_and_never_repeats_its_value(name: str, text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_settings({name: text, "SECRET_KEY": SECRET, "METRICS_TOKEN": SECRET})
    assert name in str(refused.value)
    assert SECRET not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_every_wrong_setting_of_a_section_is_named_at_once() -> None:
    with pytest.raises(SettingsError, match="PORT") as refused:
        read_settings({"PORT": "x", "HTTP_CONNECTIONS_MAX": "0"})
    assert "PORT" in str(refused.value)
    assert "HTTP_CONNECTIONS_MAX" in str(refused.value)


def test_secrets_do_not_show_when_settings_are_printed() -> None:
    settings = read_settings(
        {"SECRET_KEY": SECRET, "METRICS_TOKEN": SECRET, "PREVIOUS_SECRET_KEYS": SECRET}
    )
    assert SECRET not in repr(settings)
    assert SECRET not in str(settings)


def test_a_password_in_a_database_url_does_not_show_when_settings_are_printed() -> None:
    settings = read_settings({"DATABASE_URL": f"postgresql://station:{SECRET}@db/station"})
    assert SECRET not in repr(settings)


def test_settings_do_not_change_after_they_are_read() -> None:
    settings = read_settings({})
    with pytest.raises(ValueError, match="frozen"):
        setattr(settings.http, "port", 1)  # noqa: B010 - the point of the test


def test_a_field_that_is_no_section_is_a_defect() -> None:
    with pytest.raises(TypeError, match="not a settings section"):
        field_section(FieldInfo(annotation=int))


def test_a_setting_without_declared_names_is_a_defect() -> None:
    with pytest.raises(TypeError, match="declares its environment names"):
        field_names(FieldInfo(annotation=int))
