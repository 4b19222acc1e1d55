"""This machine, in the words of GitHub's default labels."""

import sys

if sys.platform == "win32":
    from .windows_system import architecture, description, find_caches, host, name
else:
    from .posix_system import architecture, description, find_caches, host, name

__all__ = ["architecture", "description", "find_caches", "host", "name"]
