"""ECR's credential helper on Windows: there is no script before it, so it is not set up."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

assert sys.platform == "win32"  # noqa: S101  tells the type checker where it is


def build_registry_helper(helper: str, kept: Path) -> str | None:
    """Return None: a script for Windows is not written, and without one `docker login` fails."""
    del helper, kept
    return None
