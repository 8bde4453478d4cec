"""The machine and the versions a run was made with; no path, no host name."""

import os
import platform
import shutil
import sqlite3
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

PACKAGES = ("fieldstation", "fastapi", "uvicorn", "uvloop", "httptools", "msgspec", "sqlalchemy")


def describe_machine(work_dir: Path) -> dict[str, Any]:
    """Return processor, cores, memory, system and the file system that holds the databases."""
    return {
        "processor": processor_name(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "file_system": file_system_of(work_dir),
    }


def describe_versions(peers: dict[str, str | None]) -> dict[str, str | None]:
    """Return the versions of everything measured; ``None`` for what is not installed."""
    ours = {name: package_version(name) for name in PACKAGES}
    return {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        **ours,
        "influxdb": debian_version("influxdb"),
        "victoria-metrics": debian_version("victoria-metrics"),
        "mosquitto": debian_version("mosquitto"),
        **peers,
    }


def processor_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def file_system_of(path: Path) -> str:
    """Return the type of the file system with the longest mount point above ``path``."""
    resolved = path.resolve()
    above = [
        partition
        for partition in psutil.disk_partitions(all=True)
        if resolved.is_relative_to(partition.mountpoint)
    ]
    return (
        max(above, key=lambda partition: len(partition.mountpoint)).fstype if above else "unknown"
    )


def package_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def debian_version(package: str) -> str | None:
    if shutil.which("dpkg-query") is None:
        return None
    answer = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${Version}", package],
        capture_output=True,
        text=True,
        check=False,
    )
    return answer.stdout or None
