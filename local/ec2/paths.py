"""Name what in user data belongs to a whole machine; replace it where there is no such thing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

METADATA = "169.254.169.254"
UNITS = "/etc/systemd/system"
FOLDERS = ("/opt", "/var/lib", UNITS)
"""The folders that a machine with namespaces has for itself."""
_OWN = ("/opt/", "/var/lib/", UNITS, "/etc/runner-sidecar.env")
"""Paths that become paths in the machine's folder."""


class UnsafeError(RuntimeError):
    """User data that would reach what is not their machine's own."""


def make_folders(folder: Path) -> Path:
    """Make a machine's folders in its own one; return that of its units."""
    for each in FOLDERS:
        folder.joinpath(each[1:]).mkdir(parents=True, exist_ok=True)
    return folder / UNITS[1:]


def redirect(text: str, folder: Path, metadata: str) -> str:
    """Replace in user data what belongs to a whole machine. Raises UnsafeError."""
    others = {each: f"{folder}{each}" for each in _OWN} | {
        "/dev/console": f"{folder}/console",
        "/proc/sysrq-trigger": os.devnull,
        f"http://{METADATA}": metadata,
    }
    for each, other in others.items():
        text = text.replace(each, other)
    if "169.254." in text:
        raise UnsafeError("cannot run these user data without namespaces: they name 169.254.*")
    return text
