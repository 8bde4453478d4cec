"""A client with a certificate, and how it comes by one."""

import socket
from pathlib import Path

from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from tests.cli.commands import run_command
from tests.wait_until import wait_until_blocking


class SecureClient:
    """One MQTT 5 connection over TLS, with or without a certificate, with or without a key."""

    def __init__(
        self,
        port: int,
        trusts: Path,
        certificate: Path | None,
        *,
        host: str = "127.0.0.1",
        key: str | None = None,
    ) -> None:
        self.codes: list[int] = []
        self.acknowledged: list[int] = []
        self.closed = False
        self._address = (host, port)
        self._client = Client(
            CallbackAPIVersion.VERSION2, protocol=MQTTv5, reconnect_on_failure=False
        )
        self._client.tls_set(
            str(trusts),
            certfile=str(certificate) if certificate else None,
            keyfile=str(certificate.with_suffix(".key")) if certificate else None,
        )
        if key is not None:
            self._client.username_pw_set("anybody", key)
        self._client.on_connect = lambda _c, _d, _f, reason, _p: self.codes.append(reason.value)
        self._client.on_publish = lambda _c, _d, _m, reason, _p: self.acknowledged.append(
            reason.value
        )
        self._client.on_disconnect = lambda *_: setattr(self, "closed", True)

    def __enter__(self) -> "SecureClient":
        self._client.connect(*self._address)
        self._client.loop_start()
        wait_until_blocking(lambda: bool(self.codes) or self.closed)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, topic: str, payload: str) -> int:
        before = len(self.acknowledged)
        self._client.publish(topic, payload, qos=1)
        wait_until_blocking(lambda: len(self.acknowledged) > before)
        return self.acknowledged[-1]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def issue(directory: Path, *arguments: str | Path, **environment: str) -> Path:
    output = directory.parent / f"certs-{arguments[1]}"
    done = run_command("cert", *arguments, "--output", output, data_dir=directory, **environment)
    assert done.returncode == 0, done.stderr
    assert f"Wrote {output / f'{arguments[1]}.pem'}" in done.stdout
    return output / f"{arguments[1]}.pem"


def tls_settings(certificate: Path, port: int) -> dict[str, str]:
    """Return what gives a station a TLS port with a certificate of ``issue``."""
    return {
        "MQTT_TLS_PORT": str(port),
        "MQTT_TLS_CERT_FILE": str(certificate),
        "MQTT_TLS_KEY_FILE": str(certificate.with_suffix(".key")),
    }
