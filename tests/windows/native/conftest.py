"""What no one but Windows itself can judge: access lists, PowerShell, .NET, a container's stop.

The workflow `windows.yml` runs these tests on GitHub's machines. Everywhere else they are left out,
under wine too.
"""

from __future__ import annotations

import sys


def is_windows() -> bool:
    """Return whether this is Windows, and not wine."""
    if sys.platform != "win32":
        return False
    import ctypes

    return not hasattr(ctypes.WinDLL("ntdll"), "wine_get_version")


collect_ignore_glob = [] if is_windows() else ["test_*.py"]
"""Left out, not skipped: where a skip counts as a failure, Windows is not."""


def pytest_report_header() -> str | None:
    """Say why nothing of this folder runs."""
    return None if is_windows() else "tests/windows/native: left out, needs Windows itself"
