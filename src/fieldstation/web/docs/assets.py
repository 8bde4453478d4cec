"""Holds the files that the documentation pages load: compressed once, named by their content."""

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

MEDIA_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, compressed with gzip."""

    compressed: bytes
    media_type: str


@cache
def load_assets() -> Mapping[str, Asset]:
    """Read every file that a page may load."""
    package = files("fieldstation.web.docs")
    found = {
        entry.name.removesuffix(".gz"): entry.read_bytes()
        for entry in (package / "bundles").iterdir()
        if entry.name.endswith(".gz")
    }
    for entry in (package / "static").iterdir():
        found[entry.name] = gzip.compress(entry.read_bytes(), 9, mtime=0)
    return {
        name: Asset(compressed, MEDIA_TYPES[name[name.rindex(".") :]])
        for name, compressed in sorted(found.items())
    }


@cache
def version() -> str:
    """Return a name of all files together: scripts load each other by relative addresses."""
    digest = hashlib.sha256()
    for asset in load_assets().values():
        digest.update(hashlib.sha256(asset.compressed).digest())
    return digest.hexdigest()[:16]


def address_of(name: str) -> str:
    """Return where a page loads a file from; the address changes with the content."""
    if name not in load_assets():
        raise KeyError(name)
    return f"/docs/assets/{version()}/{name}"
