"""Make the other Pythons that the README names, each with what the tests of single parts need.

3.13 is that of Debian 13, whose /usr is there for its docker engine; 3.14 is that of the Debian
after it. A program of theirs sees that Debian's /usr in place of the machine's; all else, files,
network and processes, is the machine's. No Debian has 3.12: the machine's own is taken, if it has
one. `python -m tests.pythons.sources` makes them beforehand, in the user's cache.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from tests.engines import roots

VERSIONS = ("3.12", "3.13", "3.14")
"""Those beside the oldest, with which everything is tested."""
NEXT, NEXT_PYTHON = "forky", "3.14"
"""The Debian after 13. When it has this Python no more, another one is promised instead."""
SCRIPT = "/usr/share/debootstrap/scripts/sid"
"""How debootstrap makes a Debian whose name it does not know yet."""

REQUIREMENTS = roots.REPOSITORY / "requirements"
PYTEST = ("execnet", "iniconfig", "packaging", "pluggy", "pygments", "pytest", "pytest-xdist")
"""What the tests need of dev.txt beside the packages of local.txt."""
_PIN = re.compile(r"^([\w.-]+)==.*\n(?: .*\n)*", re.MULTILINE)
_RECIPE = 1
"""Raise this when the steps below make something else of the same packages."""


def create(version: str) -> tuple[str, ...] | None:
    """Return the command of a Python with all packages, None where there can be no such Python.

    Makes what is not there yet: of 3.14 a minute, of the others some ten seconds.
    """
    found = _find_interpreter(version)
    if found is None:
        return None
    enter, interpreter = found
    parts = [path.read_bytes() for path in (REQUIREMENTS / "local.txt", REQUIREMENTS / "dev.txt")]
    parts.append(repr((_RECIPE, PYTEST, enter, interpreter)).encode())

    def make(folder: Path) -> None:
        roots.run(*enter, interpreter, "-m", "venv", "--without-pip", str(folder))
        _install(folder, version)

    folder = roots.build_cached(f"python{version}", b"\0".join(parts), make)
    return (*enter, str(folder / "bin" / f"python{version}"))


def is_here(version: str) -> bool:
    """Return whether `create` can make it on a machine with all that tests need."""
    return version != "3.12" or _find_own(version) is not None


def _find_interpreter(version: str) -> tuple[tuple[str, ...], str] | None:
    """Return how to enter the system of a Python, and its path there."""
    if version in (roots.PYTHON, NEXT_PYTHON):
        root = roots.create() if version == roots.PYTHON else _create_next()
        return roots.enter(root), f"/usr/bin/python{version}"
    own = _find_own(version)
    return None if own is None else ((), own)


def _find_own(version: str) -> str | None:
    """Return the path of this machine's own Python of a version. Nothing is started for that."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}"))
    if found:
        return str(found[-1])
    program = shutil.which(f"python{version}")
    # pyenv has programs of all names on PATH, some of which run nothing.
    return None if program is None or Path(program).parent.name == "shims" else program


# ---- the Debian after 13 -----------------------------------------------------------------------


def _create_next() -> Path:
    recipe = repr((_RECIPE, NEXT, NEXT_PYTHON)).encode()
    return roots.build_cached(NEXT, recipe, _make_next)


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
    """Install the wheels that are pinned for this version."""
    pinned = folder / "requirements.txt"
    developers = (REQUIREMENTS / "dev.txt").read_text()
    chosen = [found[0] for found in _PIN.finditer(developers) if found[1] in PYTEST]
    pinned.write_text((REQUIREMENTS / "local.txt").read_text() + "".join(chosen))
    packages = folder / "lib" / f"python{version}" / "site-packages"
    roots.install_packages(packages, version, pinned)


if __name__ == "__main__":
    for each in VERSIONS:
        print(each, create(each) or "is not here")
