"""Encrypt what only this machine can decrypt (Windows' data protection, DPAPI)."""

from __future__ import annotations

import ctypes
import sys
from ctypes import wintypes

from sidecar.host.win32 import libraries

assert sys.platform == "win32"  # noqa: S101  tells the type checker where it is

_NEVER_ASK, _ANY_USER = 0x1, 0x4  # CRYPTPROTECT_UI_FORBIDDEN, CRYPTPROTECT_LOCAL_MACHINE


class _Blob(ctypes.Structure):
    _fields_ = (("size", wintypes.DWORD), ("data", ctypes.c_void_p))


_crypt32 = ctypes.WinDLL("crypt32", use_last_error=True)
_protect, _unprotect = (
    libraries.declare(
        _crypt32, name, wintypes.BOOL,
        ctypes.POINTER(_Blob), ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p,
        wintypes.DWORD, ctypes.POINTER(_Blob),
    )
    for name in ("CryptProtectData", "CryptUnprotectData")
)  # fmt: skip


def seal(content: bytes) -> bytes:
    """Encrypt `content` for all users of this machine. Raises OSError.

    As the runner does it: `ProtectedData.Protect(content, null, LocalMachine)`.
    """
    sealed = _Blob()
    flags = _NEVER_ASK | _ANY_USER
    if not _protect(_blob(content), None, None, None, None, flags, ctypes.byref(sealed)):
        raise libraries.make_error("cannot seal data for this machine")
    return _take(sealed)


def unseal(content: bytes) -> bytes:
    """Decrypt what `seal`, or the runner, encrypted on this machine. Raises OSError."""
    plain = _Blob()
    if not _unprotect(_blob(content), None, None, None, None, _NEVER_ASK, ctypes.byref(plain)):
        raise libraries.make_error("cannot unseal data of this machine")
    return _take(plain)


def _blob(content: bytes) -> _Blob:
    return _Blob(len(content), ctypes.cast(ctypes.c_char_p(content), ctypes.c_void_p))


def _take(blob: _Blob) -> bytes:
    try:
        return ctypes.string_at(blob.data, blob.size)
    finally:
        libraries.free_local(blob.data)
