"""Make the Pythons that the README names, each with what the portable tests and the demo need.

3.13 is that of Debian 13, which is there for its docker engine; 3.14 is that of the Debian after
it. A program of theirs sees that Debian's /usr in place of the machine's; all else, files, network
and processes, is the machine's. The others are the machine's own, of pyenv or on PATH.
`python -m tests.pythons.sources` makes them beforehand, in the user's cache.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

from tests.engines import roots

PROMISED = ("3.11", "3.12", "3.13", "3.14")
RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"
NEXT, NEXT_PYTHON = "forky", "3.14"
"""The Debian after 13. When it has this Python no more, another one is promised instead."""
SCRIPT = "/usr/share/debootstrap/scripts/sid"
"""The script by which debootstrap makes a Debian whose name it does not know yet."""
OF_DEBIANS = (roots.PYTHON, NEXT_PYTHON)
TOOLS = ("debootstrap", "dpkg-deb", "unshare", "apt-get")

REQUIREMENTS = roots.REPOSITORY / "requirements"
LISTS = tuple(REQUIREMENTS / name for name in ("runtime.txt", "local.txt"))
PYTEST = ("execnet", "iniconfig", "packaging", "pluggy", "pytest", "pytest-xdist")
"""Packages that the tests need beside those of these lists; dev.txt pins all of them."""
_PIN = re.compile(r"^([\w.-]+)==.*\n(?: .*\n)*", re.MULTILINE)
_RECIPE = 4
_NEXT_RECIPE = 1
"""Raise these when the steps below make something else of the same packages."""


class Source(NamedTuple):
    """An interpreter without packages."""

    enter: tuple[str, ...]
    """The command, before its own, that shows it its system."""
    interpreter: str


def create(version: str) -> tuple[str, ...]:
    """Return the command of a Python with all packages; makes what is not there yet.

    That takes a minute for 3.14, some ten seconds for others. Raises RuntimeError.
    """
    if missing := find_missing(version):
        raise RuntimeError(f"cannot make a Python {version}: needs {missing}")
    if version == roots.PYTHON:
        roots.create()
    elif version == NEXT_PYTHON:
        roots.build_cached(NEXT, _next_recipe(), _make_next)
    source = _find_source(version)

    def make(folder: Path) -> None:
        roots.run(*source.enter, source.interpreter, "-m", "venv", "--without-pip", str(folder))
        _install(folder, version)

    folder = roots.build_cached(f"python{version}", _recipe(source), make)
    return (*source.enter, str(folder / "bin" / f"python{version}"))


def find_missing(version: str) -> str | None:
    """Return what keeps this machine from making it; None if nothing does."""
    if version not in OF_DEBIANS:
        return None if _find_own(version) else f"python{version} of pyenv or on PATH"
    if os.geteuid() != 0:
        return "root"
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    return f"{', '.join(missing)} on PATH" if missing else None


def is_built(version: str) -> bool:
    """Return whether `create` finds it, if nothing is missing."""
    return roots.find_cached(f"python{version}", _recipe(_find_source(version))).is_dir()


def _recipe(source: Source) -> bytes:
    parts = [path.read_bytes() for path in (*LISTS, REQUIREMENTS / "dev.txt")]
    return b"\0".join([*parts, repr((_RECIPE, PYTEST, *source)).encode()])


def _find_source(version: str) -> Source:
    if version in OF_DEBIANS:
        next_root = roots.find_cached(NEXT, _next_recipe())
        root = roots.find_root() if version == roots.PYTHON else next_root
        return Source(roots.enter(root), f"/usr/bin/python{version}")
    return Source((), _find_own(version) or "")


def _find_own(version: str) -> str | None:
    """Return the path of this machine's own Python of a version. Nothing is started for that."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = [*pyenv.glob(f"versions/{version}.*/bin/python{version}")]
    if found:
        return str(max(found, key=_read_patch))
    # pyenv has programs of all names on PATH, some of which run nothing.
    folders = os.environ.get("PATH", "").split(os.pathsep)
    real = os.pathsep.join(each for each in folders if Path(each) != pyenv / "shims")
    return shutil.which(f"python{version}", path=real)


def _read_patch(interpreter: Path) -> int:
    """Return the third number of a version, which names a folder of pyenv's."""
    number = re.match(r"\d+", interpreter.parents[1].name.split(".", 2)[2])
    return int(number[0]) if number else -1


# ---- the Debian after 13 -----------------------------------------------------------------------


def _next_recipe() -> bytes:
    return repr((_NEXT_RECIPE, NEXT, NEXT_PYTHON)).encode()


def _make_next(folder: Path) -> None:
    """Unpack the smallest Debian with this Python; keep its /usr. Nothing of it is set up."""
    made = folder / "made"
    named = ("--foreign", "--variant=minbase", f"--include=python{NEXT_PYTHON}")
    made.mkdir(parents=True)
    roots.run("debootstrap", *named, NEXT, str(made), roots.find_mirror(), SCRIPT)
    for package in sorted((made / "var" / "cache" / "apt" / "archives").glob("*.deb")):
        roots.run("dpkg-deb", "--extract", str(package), str(made))
    roots.run("ldconfig", "-r", str(made))
    roots.keep_usr(made, folder)


# ---- packages ----------------------------------------------------------------------------------


def _install(folder: Path, version: str) -> None:
    """Install the wheels that are pinned: those of the agent, of the stand-ins, and pytest."""
    names = {found[1] for path in LISTS for found in _PIN.finditer(path.read_text())} | {*PYTEST}
    pins = _PIN.finditer((REQUIREMENTS / "dev.txt").read_text())
    pinned = folder / "requirements.txt"
    pinned.write_text("".join(found[0] for found in pins if found[1] in names))
    packages = folder / "lib" / f"python{version}" / "site-packages"
    roots.install_packages(packages, version, pinned)
    project = tomllib.loads((roots.REPOSITORY / "pyproject.toml").read_text())["project"]
    for name, function in project["scripts"].items():
        _write_program(folder / "bin" / name, function.partition(".")[0], version)


def _write_program(path: Path, package: str, version: str) -> None:
    """Write one of the repository's own programs; its package is found by PYTHONPATH."""
    path.write_text(f'#!/bin/sh\nexec "${{0%/*}}/python{version}" -m {package} "$@"\n')
    path.chmod(0o755)


OTHERS = tuple(
    os.environ.get("OTHER_PYTHONS", "").split()
    or (each for each in PROMISED if each != RUNNING and (each in OF_DEBIANS or _find_own(each)))
)
"""Those beside the one that plays everything: of what no Debian has, what this machine has."""

if __name__ == "__main__":
    for each in OTHERS:
        print(each, *(create(each) if find_missing(each) is None else ("is not here",)))
