"""The files of a configured runner on Windows: hidden, and the key sealed by DPAPI.

Sealed for the machine, not for the user (`DataProtectionScope.LocalMachine`), by `configure` as
well as by `--jitconfig`.
"""

import ctypes
import os
import sys
from ctypes import wintypes

assert sys.platform == "win32"

SEALS = True
"""Whether the key is sealed: what is sealed has no byte order mark."""

_HIDDEN = 0x2
_FOR_THE_MACHINE, _NO_PROMPT = 0x4, 0x1


class _Blob(ctypes.Structure):
    _fields_ = (("size", wintypes.DWORD), ("data", ctypes.c_void_p))


def write(path: str, data: bytes, private: bool) -> None:
    """Write a hidden file. A hidden one cannot be written over, so an old one goes first."""
    del private  # the folder's ACL holds for all
    if os.path.exists(path):
        os.unlink(path)
    with open(path, "wb") as file:
        file.write(data)
    ctypes.windll.kernel32.SetFileAttributesW(path, _HIDDEN)


def seal(data: bytes) -> bytes:
    """Return the runner's key as it stands in its file. Raises OSError."""
    return _call("CryptProtectData", data)


def unseal(data: bytes) -> bytes:
    """Return the runner's key from what stands in its file. Raises OSError."""
    return _call("CryptUnprotectData", data)


def _call(name: str, data: bytes) -> bytes:
    given = ctypes.create_string_buffer(data, len(data))
    taken, made = _Blob(len(data), ctypes.addressof(given)), _Blob()
    function = getattr(ctypes.WinDLL("crypt32", use_last_error=True), name)
    flags = _FOR_THE_MACHINE | _NO_PROMPT
    if not function(ctypes.byref(taken), None, None, None, None, flags, ctypes.byref(made)):
        raise ctypes.WinError(ctypes.get_last_error())
    try:
        return ctypes.string_at(made.data, made.size)
    finally:
        ctypes.windll.kernel32.LocalFree(ctypes.c_void_p(made.data))
