"""Keep the runner's program root's own: not on Windows, where agent and jobs have one user."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

assert sys.platform == "win32"  # noqa: S101  tells the type checker where it is

DIAGNOSTICS = "DOTNET_EnableDiagnostics"
"""With the value 0, a .NET program opens no pipe by which others of its user can load code."""


def secure_program(root: Path, *, first_life: bool) -> list[str]:
    """Return that nothing was removed: no file is safe from a job here."""
    del root, first_life
    return []


def are_programs_exposed() -> bool:
    """Return False: no program is closed to its own user here."""
    return False


def build_variable_script(name: str, value: str) -> str:
    """Return nothing: the variable is not set for the listener either."""
    del name, value
    return ""
