"""Debian 13 in a folder: an engine to run, and the AWS clients that containers are given.

Made once (about two minutes) and kept outside the repository, under the user's cache folder; a
change of what it is made of makes a new one. `python -m tests.engines.roots` makes it beforehand.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

REPOSITORY = Path(__file__).parents[2]
PINS = REPOSITORY / "requirements" / "clients.txt"
JUDGES = REPOSITORY / "tests" / "judges"
NODE_PACKAGES = ("@aws-sdk/client-sts", "@aws-sdk/credential-providers", "aws-sdk")

CODENAME = "trixie"
PYTHON = "3.13"
"""The Python of that Debian."""
ENGINE = (
    *("docker.io", "docker-cli", "docker-buildx", "docker-compose"),
    *("iptables", "nftables", "iproute2"),
)
CLIENTS = ("awscli", "rclone", "ruby-aws-sdk-core", "nodejs", "python3", "curl", "ca-certificates")
_RECIPE = 3
"""To be raised when the steps below make something else of the same."""
_TIMEOUT = 900.0
"""Seconds that any step may take, downloads included."""


def made() -> Path:
    """Return the folder, which is made first if nobody has yet. It is only ever read."""
    parts = [PINS.read_bytes(), (JUDGES / "package-lock.json").read_bytes()]
    parts.append(repr((_RECIPE, ENGINE, CLIENTS, NODE_PACKAGES)).encode())
    return kept(CODENAME, b"\0".join(parts), _make)


def kept(name: str, recipe: bytes, make: Callable[[Path], None]) -> Path:
    """Return the folder of that name for a recipe; `make` makes it first if nobody has yet."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    digest = hashlib.sha256(recipe).hexdigest()[:12]
    folder = cache / "ecs-runner-sidecar" / f"{name}-{digest}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of two sessions at once, one makes it
        if not folder.is_dir():
            begun = folder.with_suffix(".begun")
            shutil.rmtree(begun, ignore_errors=True)
            make(begun)
            begun.rename(folder)
    return folder


def debootstrapped(root: Path) -> None:
    """Make `root` a bare Debian 13 that can install packages and starts no daemon."""
    # In a mount namespace, so that what it mounts is gone however it ends.
    ran("unshare", "--mount", "debootstrap", "--variant=minbase", CODENAME, str(root), _mirror())
    shutil.copy("/etc/resolv.conf", root / "etc" / "resolv.conf")
    (root / "usr" / "sbin" / "policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
    (root / "usr" / "sbin" / "policy-rc.d").chmod(0o755)


def _make(root: Path) -> None:
    debootstrapped(root)
    # Not by debootstrap, which does not see through packages that stand in for others.
    install = ("apt-get", "install", "-qq", "-y", "--no-install-recommends")
    ran("chroot", str(root), *install, *ENGINE, *CLIENTS)
    ran("chroot", str(root), "apt-get", "clean")
    _python(root / "opt" / "clients" / "python")
    _node(root / "opt" / "clients" / "node_modules")
    ran("chroot", str(root), "python3", "-m", "compileall", "-q", "/opt/clients/python")


def _mirror() -> str:
    """Return where this machine's own apt has Debian from."""
    columns = "$(ORIGIN) $(LABEL) $(REPO_URI)"
    argv = ("apt-get", "indextargets", "--format", columns, "Created-By: Packages")
    for line in ran(*argv).splitlines():
        origin, label, address = line.split(maxsplit=2)
        if origin == label == "Debian":
            return address
    raise RuntimeError("cannot make an engine's root: this machine's apt knows no Debian")


def _python(folder: Path) -> None:
    machine = platform.machine()
    where = ["--target", str(folder), "--python-version", PYTHON, "--only-binary=:all:"]
    for tag in ("manylinux2014", "manylinux_2_28"):
        where += ["--platform", f"{tag}_{machine}"]
    pip = (
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-compile",
        "--disable-pip-version-check",
    )
    ran(*pip, *where, "--no-deps", "--require-hashes", "-r", str(PINS))


def _node(folder: Path) -> None:
    """Copy the JavaScript clients, and what they need, from among the judges."""
    source, wanted, copied = JUDGES / "node_modules", list(NODE_PACKAGES), set()
    while wanted:
        name = wanted.pop()
        if name in copied:
            continue
        copied.add(name)
        for path in (source / name).rglob("package.json"):  # its own, and those nested in it
            told = json.loads(path.read_bytes()).get("dependencies", {})
            wanted += [other for other in told if (source / other).is_dir()]
        browsers = shutil.ignore_patterns("dist") if name == "aws-sdk" else None
        shutil.copytree(source / name, folder / name, symlinks=True, ignore=browsers)


def ran(*argv: str) -> str:
    """Run a command to its end; return what it printed. Raises RuntimeError."""
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    done = subprocess.run(
        argv,
        check=False,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
    )
    if done.returncode != 0:
        said = (done.stdout + done.stderr)[-4000:]
        raise RuntimeError(f"cannot make what tests need: {' '.join(argv)}: {said}")
    return done.stdout


if __name__ == "__main__":
    print(made())
