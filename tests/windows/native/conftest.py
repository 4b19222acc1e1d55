"""What no one but Windows itself can judge: access lists, PowerShell, .NET, a container's stop.

The workflow `windows.yml` runs these tests on GitHub's machines. Everywhere else they are skipped,
under wine too.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def is_windows() -> bool:
    """Return whether this is Windows, and not wine."""
    if sys.platform != "win32":
        return False
    import ctypes

    return not hasattr(ctypes.WinDLL("ntdll"), "wine_get_version")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip all tests of this folder where Windows is not."""
    if is_windows():
        return
    skip = pytest.mark.skip(reason="needs Windows itself: windows.yml runs it there")
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(skip)
