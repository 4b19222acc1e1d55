"""Make a Debian 13 in a folder, with an engine, and the AWS clients that containers use.

This takes about two minutes, once. The folder is kept in the user's cache, and made anew when its
packages change. `python -m tests.engines.roots` makes it beforehand.
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
"""The Python version of Debian 13."""
ENGINE = (
    *("docker.io", "docker-cli", "docker-buildx", "docker-compose"),
    *("iptables", "nftables", "iproute2"),
)
CLIENTS = ("awscli", "rclone", "ruby-aws-sdk-core", "nodejs", "python3", "curl", "ca-certificates")
CACHE = "etc/ld.so.cache"
_ENTER = """\
mount --bind "$0/{cache}" /{cache} && mount --bind "$0/usr" /usr && exec "$@"
"""
_RECIPE_VERSION = 3
"""Raise this when the steps below make something else of the same packages."""
_TIMEOUT = 900.0
"""Seconds that any step may take, downloads included."""


def create() -> Path:
    """Return the folder, and make it first if there is none. Tests only read it."""
    return build_cached(CODENAME, _recipe(), _make)


def find_root() -> Path:
    """Return where `create` makes it, or has made it."""
    return find_cached(CODENAME, _recipe())


def _recipe() -> bytes:
    parts = [PINS.read_bytes(), (JUDGES / "package-lock.json").read_bytes()]
    parts.append(repr((_RECIPE_VERSION, ENGINE, CLIENTS, NODE_PACKAGES)).encode())
    return b"\0".join(parts)


def find_cached(name: str, recipe: bytes) -> Path:
    """Return where the folder of a recipe is, or would be."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    digest = hashlib.sha256(recipe).hexdigest()[:12]
    return cache / "ecs-runner-sidecar" / f"{name}-{digest}"


def build_cached(name: str, recipe: bytes, make: Callable[[Path], None]) -> Path:
    """Return the cached folder of a recipe; `make` makes it first if there is none."""
    folder = find_cached(name, recipe)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # with two test sessions at once, only one makes it
        if not folder.is_dir():
            unfinished = folder.with_suffix(".begun")
            shutil.rmtree(unfinished, ignore_errors=True)
            make(unfinished)
            unfinished.rename(folder)
    return folder


def debootstrap(root: Path) -> None:
    """Make `root` a minimal Debian 13 that can install packages and starts no daemon."""
    # A mount namespace removes the mounts of debootstrap, however that ends.
    made = ("debootstrap", "--variant=minbase", CODENAME, str(root), find_mirror())
    run("unshare", "--mount", *made)
    shutil.copy("/etc/resolv.conf", root / "etc" / "resolv.conf")
    (root / "usr" / "sbin" / "policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
    (root / "usr" / "sbin" / "policy-rc.d").chmod(0o755)


def _make(root: Path) -> None:
    debootstrap(root)
    # debootstrap itself does not resolve virtual packages.
    install = ("apt-get", "install", "-qq", "-y", "--no-install-recommends")
    run("chroot", str(root), *install, *ENGINE, *CLIENTS)
    run("chroot", str(root), "apt-get", "clean")
    install_packages(root / "opt" / "clients" / "python", PYTHON, PINS)
    _node(root / "opt" / "clients" / "node_modules")
    run("chroot", str(root), "python3", "-m", "compileall", "-q", "/opt/clients/python")


def find_mirror() -> str:
    """Return the address of this machine's own Debian mirror."""
    columns = "$(ORIGIN) $(LABEL) $(REPO_URI)"
    argv = ("apt-get", "indextargets", "--format", columns, "Created-By: Packages")
    for line in run(*argv).splitlines():
        origin, label, address = line.split(maxsplit=2)
        if origin == label == "Debian":
            return address
    raise RuntimeError("cannot make an engine's root: this machine's apt knows no Debian")


def install_packages(folder: Path, version: str, pinned: Path) -> None:
    """Install the wheels that a file pins for a version of Python; this machine's pip does it."""
    machine = platform.machine()
    where = ["--target", str(folder), "--python-version", version, "--only-binary=:all:"]
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
    run(*pip, *where, "--no-deps", "--require-hashes", "-r", str(pinned))


def _node(folder: Path) -> None:
    """Copy the JavaScript clients and their dependencies from the judges' packages."""
    source, names, copied = JUDGES / "node_modules", list(NODE_PACKAGES), set()
    while names:
        name = names.pop()
        if name in copied:
            continue
        copied.add(name)
        for path in (source / name).rglob("package.json"):  # its own, and those nested in it
            dependencies = json.loads(path.read_bytes()).get("dependencies", {})
            names += [other for other in dependencies if (source / other).is_dir()]
        browsers = shutil.ignore_patterns("dist") if name == "aws-sdk" else None
        shutil.copytree(source / name, folder / name, symlinks=True, ignore=browsers)


def keep_usr(root: Path, folder: Path) -> None:
    """Move the /usr of a root, and what names its libraries, to a folder; remove the rest."""
    (folder / CACHE).parent.mkdir()
    (root / CACHE).rename(folder / CACHE)
    (root / "usr").rename(folder / "usr")
    shutil.rmtree(root)


def enter(root: Path, *argv: str) -> tuple[str, ...]:
    """Return the command that runs `argv` with the root's /usr; its process is that of `argv`."""
    script = _ENTER.format(cache=CACHE)
    return ("unshare", "--mount", "--propagation=private", "sh", "-c", script, str(root), *argv)


def run(*argv: str) -> str:
    """Run a command to its end; return its output. Raises RuntimeError."""
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
        output = (done.stdout + done.stderr)[-4000:]
        raise RuntimeError(f"cannot make what tests need: {' '.join(argv)}: {output}")
    return done.stdout


if __name__ == "__main__":
    print(create())
