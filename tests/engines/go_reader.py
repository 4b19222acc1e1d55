"""Build and run a program that reads create requests as docker does, with docker's own source.

Compiler and source are Debian's packages. They are unpacked for the build and removed; the program
is kept in the user's cache. `python -m tests.engines.go_reader` makes it beforehand.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.engines import roots

if TYPE_CHECKING:
    from collections.abc import Iterable

SOURCE = Path(__file__).with_name("go_reader.go")
_META_PACKAGES = ("golang-go", "golang-src")
"""These depend on the packages of the default version."""
_PACKAGES = (
    "golang-github-docker-docker-dev",
    "golang-github-docker-go-connections-dev",
    "golang-github-docker-go-units-dev",
)
_RECIPE_VERSION = 1
_GO_PATH = Path("usr", "share", "gocode")
_SYSINFO = _GO_PATH / "src" / "github.com" / "docker" / "docker" / "pkg" / "sysinfo"
_NO_QUESTIONS = "package sysinfo\n\nfunc New(bool) *SysInfo { return &SysInfo{} }\n"
"""Stands for what asks the kernel, which needs forty packages and reads no request."""
_TIMEOUT = 120.0


def create() -> Path:
    """Return the program, and build it first if there is none."""
    recipe = repr((_RECIPE_VERSION, _META_PACKAGES, _PACKAGES)).encode() + SOURCE.read_bytes()
    return roots.build_cached("go-reader", recipe, _make) / "reader"


def read_bodies(bodies: Iterable[bytes]) -> list[dict[str, Any]]:
    """Return what docker 20.10 takes of each body: `Config` and `HostConfig`, or an `error`."""
    lines = b"".join(base64.b64encode(body) + b"\n" for body in bodies)
    done = subprocess.run(
        [create()], input=lines, capture_output=True, timeout=_TIMEOUT, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def _make(folder: Path) -> None:
    folder.mkdir()
    unpacked = Path(tempfile.mkdtemp(prefix="go-"))
    try:
        _unpack(unpacked)
        _remove_questions(unpacked / _SYSINFO)
        (compiler,) = unpacked.glob("usr/lib/go-*/bin/go")
        source = shutil.copy(SOURCE, unpacked / "main.go")
        env = {
            "GOROOT": compiler.parents[1],
            "GOPATH": unpacked / _GO_PATH,
            "GOCACHE": unpacked / "cache",
            "GO111MODULE": "off",
            "CGO_ENABLED": "0",
        }
        assignments = [f"{name}={value}" for name, value in env.items()]
        build = (str(compiler), "build", "-o", str(folder / "reader"), str(source))
        roots.run("env", *assignments, *build)
    finally:
        shutil.rmtree(unpacked)


def _unpack(folder: Path) -> None:
    """Download the packages and unpack them in a folder; nothing is installed."""
    names = [*_PACKAGES, *(_find_default(name) for name in _META_PACKAGES)]
    download = 'cd "$1" && shift && exec apt-get download -qq "$@"'
    roots.run("sh", "-ec", download, "sh", str(folder), *names)
    for package in folder.glob("*.deb"):
        roots.run("dpkg", "--extract", str(package), str(folder))
        package.unlink()


def _find_default(name: str) -> str:
    """Return the package of the default version of Go."""
    _, _, kind = name.partition("-")
    for line in roots.run("apt-cache", "depends", "--important", name).splitlines():
        found = line.rpartition(" ")[2]
        if found.startswith("golang-1") and found.endswith(f"-{kind}"):
            return found
    raise RuntimeError(f"cannot build the reader: this machine's apt knows no {name}")


def _remove_questions(folder: Path) -> None:
    for path in folder.glob("*_linux.go"):
        path.unlink()
    (folder / "sysinfo_linux.go").write_text(_NO_QUESTIONS, encoding="utf-8")


if __name__ == "__main__":
    print(create())
