"""A process that nobody asked to stay."""

import sys

if sys.platform == "win32":
    from .windows_daemon import leave_behind
else:
    from .posix_daemon import leave_behind

__all__ = ["leave_behind"]
