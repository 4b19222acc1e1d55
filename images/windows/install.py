# ruff: noqa: INP001  a program of the image's build, and no module
"""Install the agent into a folder that holds an embedded Python, from the working directory.

python install.py FOLDER

Its libraries by their hashes, its wheel, `start.py`, `runner-sidecar.exe`, nothing else. The Python
that runs this has pip, and must be of the same version as the embedded one.
"""

from __future__ import annotations

import compileall
import io
import py_compile
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

SERVICES = ("secretsmanager", "ssm", "sts")
"""The services that the agent calls; botocore describes hundreds."""
SOURCES = {".c", ".h", ".pdb", ".pxd", ".pyi", ".pyx"}
"""Endings of files that never run."""
TIMEOUT = 900.0
"""Seconds for one call of pip."""


def pip(*words: str) -> None:
    """Run this Python's pip."""
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *words]
    subprocess.run(command, check=True, timeout=TIMEOUT)


def install(home: Path) -> None:
    """Make the agent's folder complete."""
    name = f"python{sys.version_info.major}{sys.version_info.minor}"
    if not (home / f"{name}._pth").exists():
        sys.exit(f"cannot install into {home}: its Python is not {name}")
    site = home / "Lib" / "site-packages"
    install_libraries(site)
    remove_unused(site)
    # With this file, Python looks nowhere else: no variable of the task, no registry, no folder of
    # a user changes what the agent runs. Without `import site` it also starts faster.
    (home / f"{name}._pth").write_text(f"{name}.zip\n.\nLib\\site-packages\n")
    shutil.copy("entrypoint/start.py", home)
    (home / "runner-sidecar.exe").write_bytes(build_launcher())
    # By content, not by time: the layers of an image may change the times of files.
    compileall.compile_dir(
        str(site), quiet=1, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )


def install_libraries(site: Path) -> None:
    """Install what the agent needs, and the agent, into the folder `site`."""
    with tempfile.TemporaryDirectory() as scratch:
        pip("install", "--require-hashes", "--requirement", "requirements/build.txt")
        pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", scratch, ".")
        into = ("install", "--no-compile", "--target", str(site))
        pip(*into, "--require-hashes", "--requirement", "requirements/runtime.txt")
        pip(*into, "--no-deps", *map(str, Path(scratch).glob("*.whl")))


def remove_unused(site: Path) -> None:
    """Remove descriptions of other services, other programs, and sources of compiled modules."""
    shutil.rmtree(site / "bin", ignore_errors=True)
    for folder in (site / "botocore" / "data").glob("*"):
        if folder.is_dir() and folder.name not in SERVICES:
            shutil.rmtree(folder)
    for path in [*site.rglob("*")]:
        if path.suffix in SOURCES and path.is_file():
            path.unlink()


def build_launcher() -> bytes:
    """Return a program that runs the agent by the `python.exe` in its own folder.

    It is the one that pip gives to every command: an executable, the path of a Python, an archive
    with a `__main__.py`.
    """
    from pip._vendor import distlib

    program = Path(distlib.__file__).with_name("t64.exe").read_bytes()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr(
            "__main__.py", "import runpy\nrunpy.run_module('sidecar', run_name='__main__')\n"
        )
    return program + b'#!"<launcher_dir>\\python.exe"\r\n' + archive.getvalue()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    install(Path(sys.argv[1]))
