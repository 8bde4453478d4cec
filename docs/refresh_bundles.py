"""Fetches the browser bundles of the documentation pages anew: ``make bundles``; needs npm.

The versions stand here. npm checks what it downloads against the registry's digests; what is taken
from the packages is compressed without a time stamp, so that the same versions give the same files.
Scalar's package carries no licence file; ``LICENSE.scalar.txt`` is the one of its repository.
"""

import gzip
import hashlib
import json
import subprocess
import tarfile
import tempfile
from pathlib import Path

TARGET = Path(__file__).parents[1] / "src" / "fieldstation" / "web" / "docs" / "bundles"
PACKAGES = {
    "@scalar/api-reference": ("1.72.1", {"dist/browser/standalone.js": "scalar.js"}),
    "swagger-ui-dist": (
        "5.35.0",
        {
            "swagger-ui-bundle.js": "swagger-ui.js",
            "swagger-ui.css": "swagger-ui.css",
            "LICENSE": "LICENSE.swagger-ui.txt",
            "NOTICE": "NOTICE.swagger-ui.txt",
            "swagger-ui-bundle.js.LICENSE.txt": "LICENSE.swagger-ui-parts.txt",
        },
    ),
    "redoc": ("3.0.1", {"bundles/redoc.standalone.js": "redoc.js", "LICENSE": "LICENSE.redoc.txt"}),
}

# ReDoc loads its makers' logo from their servers and has no option against it: the name instead.
LOGO = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' width='52' height='14'%3E"
    "%3Ctext y='11' font-family='sans-serif' font-size='12' fill='%230044d4'%3ERedocly%3C/text%3E"
    "%3C/svg%3E"
)
REPLACEMENTS = {
    "redoc.js": {
        "`https://cdn.redoc.ly/redoc/logo-mini-full.svg`": f"`{LOGO}`",
        "`https://cdn.redoc.ly/redoc/logo-mini.svg`": f"`{LOGO}`",
    }
}


def main() -> None:
    """Write the bundles and the list of what they are."""
    listed = {}
    for package, (version, files) in PACKAGES.items():
        with tempfile.TemporaryDirectory() as directory:
            archive = pack(f"{package}@{version}", Path(directory))
            for source, name in files.items():
                content = adapt(name, read_member(archive, f"package/{source}"))
                write(name, content)
                digest = hashlib.sha256(content).hexdigest()
                listed[name] = {
                    "package": package,
                    "version": version,
                    "file": source,
                    "sha256": digest,
                }
                print(f"{name}: {package} {version}, {len(content)} bytes")
    (TARGET / "bundles.json").write_text(json.dumps(listed, indent=2) + "\n")


def pack(package: str, directory: Path) -> Path:
    """Download one package's archive."""
    done = subprocess.run(  # noqa: S603 - the names stand above
        ["npm", "pack", "--json", package],  # noqa: S607 - whichever npm is installed
        cwd=directory,
        check=True,
        capture_output=True,
        text=True,
    )
    return directory / json.loads(done.stdout)[0]["filename"]


def write(name: str, content: bytes) -> None:
    """Keep what browsers get compressed, and licences as they are."""
    if name.endswith((".js", ".css")):
        (TARGET / f"{name}.gz").write_bytes(gzip.compress(content, 9, mtime=0))
    else:
        (TARGET / name).write_bytes(content.replace(b"\r\n", b"\n"))


def adapt(name: str, content: bytes) -> bytes:
    """Make the replacements; each must fit exactly once, or it is time to look again."""
    for old, new in REPLACEMENTS.get(name, {}).items():
        if content.count(old.encode()) != 1:
            raise ValueError(f"{name}: expected one {old}")
        content = content.replace(old.encode(), new.encode())
    return content


def read_member(archive: Path, name: str) -> bytes:
    with tarfile.open(archive) as opened:
        member = opened.extractfile(name)
        if member is None:
            raise FileNotFoundError(f"{archive.name} has no {name}")
        return member.read()


if __name__ == "__main__":
    main()
