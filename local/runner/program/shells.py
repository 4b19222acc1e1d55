"""The shells of this system."""

import sys

if sys.platform == "win32":
    from .windows_shells import find_hook_command, find_shell, word_script
else:
    from .posix_shells import find_hook_command, find_shell, word_script

__all__ = ["find_hook_command", "find_shell", "word_script"]
