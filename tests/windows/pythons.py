"""Build a Windows Python with the agent's dependencies in a folder, on Linux.

Interpreter and extension modules are a genuine CPython of python.org, as a Windows wheel of
panda3d has it; the dependencies are their own Windows wheels. `requirements/windows.txt` pins
all of them. The standard library, which is the same for all systems, is that of a Linux Python of
the same minor version. `python.exe` and `python3.dll` are linked by Debian's mingw.
"""

from __future__ import annotations

import re
import shutil
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

from tests.engines import roots
from tests.windows import wine_root

REQUIREMENTS = roots.REPOSITORY / "requirements" / "windows.txt"
PARTS = Path(__file__).parent / "parts"
VERSIONS = ("3.11", "3.13")
COMPILER = "x86_64-w64-mingw32-gcc"

BESIDE_EXE = "VCRUNTIME140*.dll"
LIBRARIES = ("libcrypto-3.dll", "libssl-3.dll", "libffi-8.dll", "sqlite3.dll")
"""What extension modules load, and so stands beside them."""
NOT_WANTED = ("_tkinter.pyd", "winsound.pyd", "_msi.pyd", "*t-win_amd64.pyd")
LEFT_OUT = (
    *("__pycache__", "site-packages", "dist-packages", "lib-dynload", "config-3*"),
    *("_sysconfigdata*", "sitecustomize.py", "EXTERNALLY-MANAGED"),
    *("test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip"),
)
"""What is another system's, or for tests."""
_RECIPE = 1
"""Raise this when the steps below make something else."""


class Source(NamedTuple):
    """A Linux Python of the same minor version."""

    python: tuple[str, ...]
    """The command that runs it."""
    stdlib: Path
    name: str
    """Another one when the contents may be others."""


def create(version: str) -> Path:
    """Return the folder of `python.exe`; makes it if there is none (15 seconds, 200 MB)."""
    source = find_source(version)

    def make(folder: Path) -> None:
        _Build(version, source, folder).make()

    return roots.build_cached(f"windows-python{version}", _recipe(source), make)


def is_built(version: str) -> bool:
    """Return whether `create` finds it, if wine is there."""
    return roots.find_cached(f"windows-python{version}", _recipe(find_source(version))).is_dir()


def find_source(version: str) -> Source:
    """Find the Linux Python: that of 3.13 is Debian 13's, that of 3.11 this machine's.

    Raises RuntimeError if there is none.
    """
    if version == "3.13":
        root = wine_root.create()
        python = roots.enter(root, "/usr/bin/python3.13")
        return Source(python, root / "usr" / "lib" / "python3.13", root.name)
    program = sys.executable if sys.version_info[:2] == (3, 11) else shutil.which("python3.11")
    if program is None:
        raise RuntimeError(f"cannot make a Windows Python {version}: needs python3.11 on PATH")
    code = "import sys, sysconfig; print(sysconfig.get_path('stdlib')); print(sys.version)"
    path, _, name = roots.run(program, "-I", "-c", code).partition("\n")
    return Source((program,), Path(path), name)


def _recipe(source: Source) -> bytes:
    chosen = (_RECIPE, source.name, LIBRARIES, NOT_WANTED, LEFT_OUT)
    parts = [repr(chosen).encode(), REQUIREMENTS.read_bytes()]
    return b"\0".join([*parts, *(path.read_bytes() for path in sorted(PARTS.iterdir()))])


class _Build:
    """The steps that make one folder."""

    def __init__(self, version: str, source: Source, folder: Path) -> None:
        self._source = source
        self._dll = f"python{version.replace('.', '')}"
        self._folder = folder
        self._scratch = folder / "scratch"
        self._wheel = self._scratch / "panda3d"
        self._windows = (
            *("--platform", "win_amd64", "--implementation", "cp", "--only-binary=:all:"),
            *("--python-version", version, "--no-deps", "--quiet", "--disable-pip-version-check"),
        )

    def make(self) -> None:
        """Fill the folder."""
        library, ignored = self._folder / "Lib", shutil.ignore_patterns(*LEFT_OUT)
        self._scratch.mkdir(parents=True)
        shutil.copytree(self._source.stdlib, library, ignore=ignored)
        self._install_wheels()
        self._copy_interpreter()
        self._link_program()
        self._link_stable_library()
        shutil.rmtree(self._scratch)
        # Beforehand, because tests do not write here. Some packages hold templates of modules.
        roots.run(
            *self._source.python, "-m", "compileall", "-q", "-x", "cookiecutter", str(library)
        )

    def _install_wheels(self) -> None:
        """Download all that is pinned; install all but the one that holds the interpreter."""
        wheels = self._scratch / "wheels"
        pip = (sys.executable, "-m", "pip")
        pinned = ("--require-hashes", "-r", str(REQUIREMENTS), "--dest", str(wheels))
        roots.run(*pip, "download", *self._windows, *pinned)
        [panda3d] = wheels.glob("panda3d-*.whl")
        with zipfile.ZipFile(panda3d) as archive:
            names = [name for name in archive.namelist() if name.startswith("deploy_libs/")]
            archive.extractall(self._wheel, names)
        panda3d.unlink()
        packages = self._folder / "Lib" / "site-packages"
        target = ("--no-index", "--no-compile", "--target", str(packages))
        roots.run(*pip, "install", *self._windows, *target, *map(str, sorted(wheels.iterdir())))

    def _copy_interpreter(self) -> None:
        """Copy DLLs and extension modules to where CPython looks for them, beside Lib/os.py."""
        source, modules = self._wheel / "deploy_libs", self._folder / "DLLs"
        modules.mkdir()
        for path in (source / f"{self._dll}.dll", *source.glob(BESIDE_EXE)):
            shutil.copy(path, self._folder)
        unwanted = {path for pattern in NOT_WANTED for path in source.glob(pattern)}
        for path in {*source.glob("*.pyd"), *(source / name for name in LIBRARIES)} - unwanted:
            shutil.copy(path, modules)

    def _link_program(self) -> None:
        resource, compiled = self._scratch / "python.rc", self._scratch / "python.res.o"
        resource.write_text(f'1 24 "{PARTS / "python.manifest"}"\n')
        roots.run("x86_64-w64-mingw32-windres", str(resource), str(compiled))
        inputs = (PARTS / "python.c", compiled, self._folder / f"{self._dll}.dll")
        output = ("-o", str(self._folder / "python.exe"))
        roots.run(COMPILER, "-O2", "-s", "-municode", *output, *map(str, inputs))

    def _link_stable_library(self) -> None:
        """Make python3.dll, for wheels of the stable ABI: each name leads to the true DLL's."""
        headers = roots.run(
            "x86_64-w64-mingw32-objdump", "-p", str(self._folder / f"{self._dll}.dll")
        )
        table = headers.partition("[Ordinal/Name Pointer] Table")[2].partition("\n\n")[0]
        names = re.findall(r"^\s*\[.*\]\s.*?(\w+)$", table, re.MULTILINE)
        exports = "\n".join(f"{name} = {self._dll}.{name}" for name in names)
        definition = self._scratch / "python3.def"
        definition.write_text(f"LIBRARY python3\nEXPORTS\n{exports}\n")
        output = ("-o", str(self._folder / "python3.dll"))
        roots.run(COMPILER, "-shared", "-nostdlib", "-s", "-Wl,--entry=0", *output, str(definition))
