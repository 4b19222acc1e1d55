"""Shells on POSIX: what runs a step's script, and a hook."""

import os
import shutil
import sys

assert sys.platform != "win32"

_SHELLS = {"bash": ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail"], "sh": ["sh", "-e"]}
"""The commands of the values of `shell:`."""


def find_shell(name: str, contained: bool) -> list[str]:
    """Return the command of a `shell:`, or of none; `contained` in the job container."""
    return _SHELLS.get(name) or (["sh", "-e"] if contained else [_bash(), "-e"])


def word_script(text: str) -> tuple[str, str]:
    """Return how a step's script is written to its file, and that file's ending."""
    return text, ".sh"


def find_hook_command(path: str, externals: str) -> list[str]:
    """Return the command that runs a hook; nothing if nothing here can run it."""
    del externals
    shells = {".sh": [_bash(), "-e"], ".ps1": ["pwsh", "-command", "."], ".js": ["node"]}
    shell = shells.get(os.path.splitext(path)[1])
    return [*shell, path] if shell else []


def _bash() -> str:
    return shutil.which("bash") or "/bin/sh"
