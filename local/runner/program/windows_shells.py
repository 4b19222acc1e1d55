"""Shells on Windows: what runs a step's script, and a hook.

A step without `shell:` runs in PowerShell in truth; here in cmd, which is there in any case.
"""

import os
import shutil
import sys

assert sys.platform == "win32"

_POWERSHELL = os.path.join("powershell", "powershell.exe")
"""The stand-in for PowerShell, in `externals`; `install` puts it there where it is asked for."""


def find_shell(name: str, contained: bool) -> list[str]:
    """Return the command of a `shell:`, or of none; `contained` does not happen here."""
    del name, contained
    comspec = os.environ.get("COMSPEC", "cmd.exe")
    return [comspec, "/D", "/E:ON", "/V:OFF", "/S", "/C", "CALL"]


def word_script(text: str) -> tuple[str, str]:
    """Return how a step's script is written to its file, and that file's ending."""
    lines = ["@echo off", *text.splitlines(), ""]
    return "\r\n".join(lines), ".cmd"


def find_hook_command(path: str, externals: str) -> list[str]:
    """Return the command that runs a hook; nothing if nothing here can run it."""
    _, kind = os.path.splitext(path)
    if kind == ".js":
        return ["node", path]
    if kind != ".ps1":
        return []
    stand_in = os.path.join(externals, _POWERSHELL)
    shell = stand_in if os.path.exists(stand_in) else shutil.which("pwsh") or "powershell"
    return [shell, "-command", f". '{path}'"]
