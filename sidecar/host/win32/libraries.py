"""Call functions of Windows' own libraries: load a library, declare a function's types.

Without declared types ctypes cuts handles and pointers to 32 bits. Every function that sets the
thread's last error is called through `use_last_error`, so that nothing overwrites it meanwhile.
"""

from __future__ import annotations

import ctypes
import sys
from ctypes import wintypes
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

assert sys.platform == "win32"  # noqa: S101  tells the type checker where it is

kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)


def declare(library: ctypes.WinDLL, name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    """Return the function `name` of a library, with the types of its result and its arguments."""
    function = getattr(library, name)
    function.restype, function.argtypes = result, arguments
    return function  # type: ignore[no-any-return]


def make_error(what: str, code: int | None = None) -> OSError:
    """Return the OSError of a failed call: what it could not do, and why, by the system's words."""
    code = ctypes.get_last_error() if code is None else code
    return OSError(None, f"{what}: {ctypes.FormatError(code).strip()} ({code})", None, code)


close_handle = declare(kernel32, "CloseHandle", wintypes.BOOL, wintypes.HANDLE)
free_local = declare(kernel32, "LocalFree", wintypes.HLOCAL, wintypes.HLOCAL)
open_process = declare(
    kernel32, "OpenProcess", wintypes.HANDLE, wintypes.DWORD, wintypes.BOOL, wintypes.DWORD
)
current_process = declare(kernel32, "GetCurrentProcess", wintypes.HANDLE)
