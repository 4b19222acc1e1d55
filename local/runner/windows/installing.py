"""Lay out a runner root as GitHub's archive for Windows would, and build what it needs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

_HERE = Path(__file__).parent
_PROGRAM = _HERE.with_name("program")
COMPILER = "x86_64-w64-mingw32-gcc"
"""The launcher's compiler: Debian's gcc-mingw-w64-x86-64; GitHub's Windows machines have it."""

_ENTRY = """\
import os, sys
lib = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, lib)
from runner_program.{module} import main
main(os.path.dirname(os.path.dirname(lib)))
"""

_CONFIG_CMD = """\
@echo off
pushd "%~dp0"
if /i "%~1" == "remove" (
    bin\\Runner.Listener.exe %*
) else (
    bin\\Runner.Listener.exe configure %*
)
"""

_RUN_CMD = """\
@echo off
rem As GitHub's own: hides every outcome but 2 to 4 (again).
pushd "%~dp0"
:again
bin\\Runner.Listener.exe run %*
if %errorlevel% equ 2 goto restart
if %errorlevel% equ 3 goto restart
if %errorlevel% equ 4 goto restart
echo Exiting runner...
exit /b 0
:restart
echo Restarting runner...
ping 127.0.0.1 -n 6 > nul
goto again
"""


def build_launcher(folder: Path) -> Path:
    """Build the program behind every `.exe` of the stand-in in `folder`; return its path.

    Raises OSError where there is no compiler, CalledProcessError where it finds a mistake.
    """
    program = folder / "launcher.exe"
    flags = ("-O2", "-s", "-Wall", "-Wextra", "-Werror", "-municode")
    subprocess.run([COMPILER, *flags, "-o", program, _HERE / "launcher.c"], check=True)
    return program


def install(
    directory: Path, launcher: Path, python: str, *, powershell: bool = False, version: str = ""
) -> Path:
    """Make `directory` a runner root of Windows, not yet configured; give it back, absolute.

    `launcher` is what `build_launcher` has built, `python` the folder of the interpreter as Windows
    names it. With `powershell` a stand-in runs the hooks. `Runner.Listener.exe warmup` compiles
    the program, which else every start does again.
    """
    root = directory.absolute()
    library = root / "bin" / "lib"
    package = library / "runner_program"
    package.mkdir(parents=True, exist_ok=True)
    for source in _PROGRAM.glob("*.py"):
        shutil.copyfile(source, package / source.name)
    if version:
        (package / "version.py").write_text(f"VERSION = {version!r}\n", encoding="utf-8")
    for name, module in (("Runner.Listener", "listener"), ("Runner.Worker", "worker")):
        _install_program(root / "bin", name, launcher, python, _ENTRY.format(module=module))
    if powershell:
        folder = root / "externals" / "powershell"
        text = (_HERE / "powershell.py").read_text(encoding="utf-8")
        _install_program(folder, "powershell", launcher, python, text)
    for name, text in (("config.cmd", _CONFIG_CMD), ("run.cmd", _RUN_CMD)):
        (root / name).write_text(text, encoding="utf-8", newline="\r\n")
    return root


def _install_program(folder: Path, name: str, launcher: Path, python: str, text: str) -> None:
    library = folder / "lib"
    library.mkdir(parents=True, exist_ok=True)
    shutil.copy(launcher, folder / f"{name}.exe")
    (library / f"{name}.py").write_text(text, encoding="utf-8")
    (library / "python.txt").write_text(f"{python}\n", encoding="utf-8")
