"""Every setting of the station: one frozen object, read once from the environment by the command
line.

Each field's aliases are its environment names; the first is canonical and stands in
``env.example``.
"""

import json
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo

from fieldstation.core.rates import RateLimit, parse_rate

SECRET_CHARACTERS_MIN = 32
PASSWORD_MEMORY_KIB_MIN = 19 * 1024  # OWASP's floor for argon2id with two passes
LOG_FORMATS = {"text": "console"}
"""Other names of a form of log lines."""


class SettingsError(ValueError):
    """A setting that cannot be used; the message names it and says what to do."""


def setting(default: Any, *names: str, **constraints: Any) -> Any:
    """Declare a field that is read from the first of ``names`` that is set."""
    return Field(default, validation_alias=AliasChoices(*names), **constraints)


def split_list(value: object) -> object:
    """Read a list written as JSON or with commas."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.startswith("["):
        return json.loads(text)
    return [part.strip() for part in text.split(",") if part.strip()]


def split_networks(value: object) -> object:
    """Read a list of addresses and CIDR ranges, written as JSON or with commas."""
    if not isinstance(value, str):
        return value
    parts = json.loads(value) if value.strip().startswith("[") else value.split(",")
    return tuple(ip_network(str(part).strip(), strict=False) for part in parts if part)


StringList = Annotated[tuple[str, ...], BeforeValidator(split_list)]
NetworkList = Annotated[tuple[IPv4Network | IPv6Network, ...], BeforeValidator(split_networks)]
Rate = Annotated[RateLimit, BeforeValidator(parse_rate)]


class Section(BaseModel):
    """Settings of one component."""

    model_config = ConfigDict(frozen=True, extra="ignore", validate_default=True)


class StationSettings(Section):
    environment: Literal["development", "production", "test"] = setting(
        "development", "ENVIRONMENT", "APP_ENV"
    )
    debug: bool = setting(False, "DEBUG")
    data_dir: Path = setting(Path(".fieldstation"), "DATA_DIR")
    public_url: str | None = setting(None, "API_PUBLIC_URL")
    organization: str | None = setting(None, "STATION_ORGANIZATION")
    node_id: str | None = setting(None, "NODE_ID", pattern=r"^[A-Za-z0-9-]{1,36}$")


class HttpSettings(Section):
    host: str = setting("127.0.0.1", "API_HOST")
    port: int = setting(8000, "PORT", "API_PORT", ge=0, le=65535)
    allowed_origins: StringList = setting((), "CORS_ORIGINS", "ALLOWED_ORIGINS")
    allowed_hosts: StringList = setting((), "ALLOWED_HOSTS")
    https_redirect: bool = setting(False, "HTTPS_REDIRECT")
    trusted_proxies: NetworkList = setting((), "TRUSTED_PROXIES")
    tls_cert_file: Path | None = setting(None, "TLS_CERT_FILE")
    tls_key_file: Path | None = setting(None, "TLS_KEY_FILE")
    connections_max: int = setting(10_000, "HTTP_CONNECTIONS_MAX", ge=1)
    drain_timeout_s: int = setting(8, "HTTP_DRAIN_TIMEOUT_S", ge=1, le=60)
    metrics_token: SecretStr | None = setting(None, "METRICS_TOKEN")


class BrowserSettings(Section):
    cors_enabled: bool = setting(True, "CORS_ENABLED")
    cors_credentials: bool = setting(True, "CORS_CREDENTIALS")
    cors_methods: StringList = setting(("*",), "CORS_METHODS")
    cors_headers: StringList = setting(("*",), "CORS_HEADERS")
    csp_enabled: bool = setting(True, "CSP_ENABLED")
    csp_default_src: StringList = setting(("'none'",), "CSP_DEFAULT_SRC")
    csp_script_src: StringList = setting(("'self'",), "CSP_SCRIPT_SRC")
    csp_style_src: StringList = setting(("'self'",), "CSP_STYLE_SRC")
    csp_img_src: StringList = setting(("'self'", "data:"), "CSP_IMG_SRC")
    csp_connect_src: StringList = setting(("'self'",), "CSP_CONNECT_SRC")
    csp_report_uri: str | None = setting(None, "CSP_REPORT_URI", pattern=r"^[^\s;,]+$")
    hsts_enabled: bool = setting(True, "HSTS_ENABLED")
    hsts_max_age: int = setting(31_536_000, "HSTS_MAX_AGE", ge=0)
    frame_options: Literal["DENY", "SAMEORIGIN"] = setting("DENY", "FRAME_OPTIONS")


class LimitSettings(Section):
    enabled: bool = setting(True, "RATE_LIMIT_ENABLED")
    address: Rate = setting("100/minute", "RATE_LIMIT_DEFAULT")
    user: Rate = setting("600/minute", "RATE_LIMIT_USER")
    device: Rate = setting("6000/minute", "RATE_LIMIT_DEVICE")
    factor: int = setting(1, "RATE_LIMIT_FACTOR", ge=1, le=1_000_000)
    storage_url: str | None = setting(None, "RATE_LIMIT_STORAGE_URL", "REDIS_URL", repr=False)
    sync_interval_s: float = setting(0.2, "RATE_LIMIT_SYNC_INTERVAL_S", gt=0, le=10)
    keys_max: int = setting(50_000, "RATE_LIMIT_KEYS_MAX", ge=100)


class BoundSettings(Section):
    devices_per_organization_max: int = setting(100_000, "DEVICES_PER_ORGANIZATION_MAX", ge=1)
    members_per_organization_max: int = setting(10_000, "MEMBERS_PER_ORGANIZATION_MAX", ge=1)


class TracingSettings(Section):
    correlation: bool = setting(True, "ENABLE_CORRELATION_ID")
    timing: bool = setting(True, "ENABLE_TIMING_MIDDLEWARE")
    endpoint: str | None = setting(None, "OTEL_EXPORTER_OTLP_ENDPOINT", pattern=r"^https?://\S+$")
    service: str = setting("fieldstation", "OTEL_SERVICE_NAME", min_length=1, max_length=100)


class DatabaseSettings(Section):
    url: str | None = setting(None, "DATABASE_URL", "DB_URL", repr=False)
    telemetry_url: str | None = setting(None, "TELEMETRY_DATABASE_URL", repr=False)
    pool_size: int = setting(5, "DATABASE_POOL_SIZE", ge=1, le=100)
    pool_overflow_max: int = setting(5, "DATABASE_POOL_OVERFLOW_MAX", "DATABASE_MAX_OVERFLOW", ge=0)
    pool_timeout_s: float = setting(5.0, "DATABASE_POOL_TIMEOUT_S", gt=0, le=60)


class AuthSettings(Section):
    secret_key: SecretStr | None = setting(None, "SECRET_KEY", "JWT_SECRET")
    previous_secret_keys: StringList = setting((), "PREVIOUS_SECRET_KEYS", repr=False)
    access_token_expire_minutes: int = setting(30, "ACCESS_TOKEN_EXPIRE_MINUTES", ge=1, le=1440)
    refresh_token_expire_days: int = setting(30, "REFRESH_TOKEN_EXPIRE_DAYS", ge=1, le=365)
    registration: Literal["open", "invite", "closed"] | None = setting(None, "REGISTRATION")
    password_memory_kib: int = setting(32 * 1024, "PASSWORD_MEMORY_KIB", ge=8, le=1024 * 1024)
    failed_logins_max: int = setting(10, "FAILED_LOGINS_MAX", ge=1)
    ticket_expire_s: int = setting(30, "WS_TICKET_EXPIRE_S", ge=5, le=300)


class TelemetrySettings(Section):
    queue_readings_max: int = setting(200_000, "INTAKE_QUEUE_READINGS_MAX", ge=100)
    batch_readings_max: int = setting(20_000, "INTAKE_BATCH_READINGS_MAX", ge=1)
    request_readings_max: int = setting(10_000, "INTAKE_REQUEST_READINGS_MAX", ge=1, le=10_000)
    series_per_device_max: int = setting(1_000, "SERIES_PER_DEVICE_MAX", ge=1)
    log_keep_hours: int = setting(24, "INTAKE_LOG_KEEP_HOURS", ge=1)
    seal_after_hours: int = setting(2, "SEAL_AFTER_HOURS", ge=1, le=744)
    refusals_per_device_max: int = setting(1_000, "REFUSALS_PER_DEVICE_MAX", ge=1)
    last_values_flush_interval_s: float = setting(5.0, "LAST_VALUES_FLUSH_INTERVAL_S", gt=0, le=60)


class RetentionSettings(Section):
    raw_days: int | None = setting(None, "RETENTION_RAW_DAYS", ge=1, le=36_500)
    rollup_days: int | None = setting(None, "RETENTION_ROLLUP_DAYS", ge=1, le=36_500)

    @model_validator(mode="after")
    def rollups_outlive_readings(self) -> "RetentionSettings":
        """Refuse rollups that would go before the readings that they are made of."""
        raw_days, rollup_days = self.raw_days, self.rollup_days
        if raw_days is not None and rollup_days is not None and rollup_days < raw_days:
            raise ValueError("RETENTION_ROLLUP_DAYS must be at least RETENTION_RAW_DAYS")
        return self


class ExportSettings(Section):
    stream_readings_max: int = setting(1_000_000, "EXPORT_STREAM_READINGS_MAX", ge=0)
    streams_max: int = setting(4, "EXPORT_STREAMS_MAX", ge=1, le=100)
    stall_timeout_s: float = setting(60.0, "EXPORT_STALL_TIMEOUT_S", gt=0, le=3600)
    organization_exports_max: int = setting(20, "EXPORTS_PER_ORGANIZATION_MAX", ge=1, le=1000)
    organization_bytes_max: int = setting(4 * 1024**3, "EXPORT_BYTES_PER_ORGANIZATION_MAX", gt=0)


class MqttSettings(Section):
    enabled: bool = setting(True, "ENABLE_MQTT")
    host: str = setting("127.0.0.1", "MQTT_LISTEN_HOST")
    port: int = setting(1883, "MQTT_LISTEN_PORT", ge=0, le=65535)
    tls_port: int | None = setting(None, "MQTT_TLS_PORT", ge=0, le=65535)
    tls_cert_file: Path | None = setting(None, "MQTT_TLS_CERT_FILE", "TLS_CERT_FILE")
    tls_key_file: Path | None = setting(None, "MQTT_TLS_KEY_FILE", "TLS_KEY_FILE")
    connections_max: int = setting(20_000, "MQTT_CONNECTIONS_MAX", ge=1)


class LiveSettings(Section):
    sockets_per_user_max: int = setting(5, "WS_SOCKETS_PER_USER_MAX", ge=1)
    sockets_per_organization_max: int = setting(1_000, "WS_SOCKETS_PER_ORGANIZATION_MAX", ge=1)
    resume_readings_max: int = setting(1_000_000, "WS_RESUME_READINGS_MAX", ge=1)
    queue_frames_max: int = setting(1_000, "WS_QUEUE_FRAMES_MAX", ge=1)
    ping_interval_s: float = setting(20.0, "WS_PING_INTERVAL_S", gt=0)
    slow_timeout_s: float = setting(30.0, "WS_SLOW_TIMEOUT_S", gt=0)


class RedisSettings(Section):
    url: str | None = setting(None, "REDIS_URL", repr=False)
    prefix: str = setting("fieldstation", "REDIS_PREFIX", pattern=r"^[A-Za-z0-9_.-]{1,64}$")


class OutboundSettings(Section):
    allowed: NetworkList = setting((), "OUTBOUND_ALLOW")


class LogSettings(Section):
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = setting("INFO", "LOG_LEVEL")
    format: Annotated[
        Literal["console", "json"], BeforeValidator(lambda name: LOG_FORMATS.get(name, name))
    ] = setting("console", "LOG_FORMAT")
    slow_request_ms: float = setting(1000.0, "LOG_SLOW_REQUEST_MS", gt=0)


class Settings(Section):
    """Everything, by component."""

    station: StationSettings = StationSettings()
    http: HttpSettings = HttpSettings()
    browser: BrowserSettings = BrowserSettings()
    limits: LimitSettings = LimitSettings()
    bounds: BoundSettings = BoundSettings()
    tracing: TracingSettings = TracingSettings()
    database: DatabaseSettings = DatabaseSettings()
    auth: AuthSettings = AuthSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    retention: RetentionSettings = RetentionSettings()
    exports: ExportSettings = ExportSettings()
    mqtt: MqttSettings = MqttSettings()
    live: LiveSettings = LiveSettings()
    redis: RedisSettings = RedisSettings()
    outbound: OutboundSettings = OutboundSettings()
    log: LogSettings = LogSettings()

    @model_validator(mode="after")
    def production_is_strict(self) -> "Settings":
        """Refuse to start in production with a development setup."""
        if self.station.environment != "production":
            return self
        secret = self.auth.secret_key
        if secret is None or len(secret.get_secret_value()) < SECRET_CHARACTERS_MIN:
            raise ValueError(
                f"SECRET_KEY must have at least {SECRET_CHARACTERS_MIN} characters in production; "
                "make one with: python -c 'import secrets; print(secrets.token_urlsafe(48))'"
            )
        if self.auth.password_memory_kib < PASSWORD_MEMORY_KIB_MIN:
            raise ValueError(
                f"PASSWORD_MEMORY_KIB must be at least {PASSWORD_MEMORY_KIB_MIN} in production"
            )
        if "*" in self.http.allowed_origins:
            raise ValueError("CORS_ORIGINS must name its origins in production, not *")
        return self

    @property
    def registration(self) -> Literal["open", "invite", "closed"]:
        """Who may register: open, unless set otherwise or in production (invite)."""
        if self.auth.registration is not None:
            return self.auth.registration
        return "invite" if self.station.environment == "production" else "open"


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Build the settings from environment variables; ``<NAME>_FILE`` names a file that holds the
    value.

    Raises ``SettingsError`` with one sentence per setting that cannot be used.
    """
    values: dict[str, str] = {name: text for name, text in environment.items() if text != ""}
    for name in environment_names():
        file = values.get(f"{name}_FILE")
        if file is not None and f"{name}_FILE" not in environment_names():
            values[name] = read_secret_file(f"{name}_FILE", Path(file))
    try:
        sections = {
            name: field_section(field).model_validate(values)
            for name, field in Settings.model_fields.items()
        }
        return Settings.model_validate(sections)
    except ValidationError as error:
        raise SettingsError("; ".join(describe(item) for item in error.errors())) from None


def environment_names() -> list[str]:
    """Return every environment name that the station reads, canonical names and aliases."""
    return [name for names in names_by_field().values() for name in names]


def names_by_field() -> dict[str, tuple[str, ...]]:
    """Return ``{"section.field": (canonical name, alias, …)}``."""
    return {
        f"{section_name}.{field_name}": field_names(field)
        for section_name, section_field in Settings.model_fields.items()
        for field_name, field in field_section(section_field).model_fields.items()
    }


def field_section(field: FieldInfo) -> type[Section]:
    section = field.annotation
    if not (isinstance(section, type) and issubclass(section, Section)):
        raise TypeError(f"{section} is not a settings section")
    return section


def field_names(field: FieldInfo) -> tuple[str, ...]:
    aliases = field.validation_alias
    if not isinstance(aliases, AliasChoices):
        raise TypeError("a setting declares its environment names with setting()")
    return tuple(str(choice) for choice in aliases.choices)


def read_secret_file(name: str, file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError as error:
        raise SettingsError(
            f"{name}: cannot read {file} ({error.strerror}); check the path and its permissions"
        ) from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{name}: {file} is not a text file") from error


def describe(item: Any) -> str:
    """Say which setting is wrong and why, without repeating its value (it may be a secret)."""
    name = next((str(part) for part in item["loc"] if isinstance(part, str)), "settings")
    message = str(item["msg"]).removeprefix("Value error, ")
    return message if name == "settings" or not name.isupper() else f"{name}: {message}"
