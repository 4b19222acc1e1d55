"""Access control lists: files and folders that only this process's user and SYSTEM may use.

The user is named by its identifier and not as "the owner": of what a member of the administrators'
group makes, the owner may be that group.
"""

from __future__ import annotations

import ctypes
import functools
import msvcrt
import os
import sys
from contextlib import contextmanager
from ctypes import wintypes
from typing import TYPE_CHECKING

from sidecar.host.win32 import libraries

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

assert sys.platform == "win32"  # noqa: S101  tells the type checker where it is

SYSTEM = "SY"
"""What a security descriptor's text calls the system itself."""
_VERSION = 1
_QUERY_TOKEN, _TOKEN_USER = 0x8, 1
_FILE_OBJECT, _ACCESS_LIST = 1, 0x4
_WRITE, _NEW_ONLY, _ORDINARY = 0x40000000, 1, 0x80
_INVALID = ctypes.c_void_p(-1).value


class _Attributes(ctypes.Structure):
    _fields_ = (
        ("size", wintypes.DWORD),
        ("descriptor", ctypes.c_void_p),
        ("inherited_by_children", wintypes.BOOL),
    )


_advapi32 = ctypes.WinDLL("advapi32", use_last_error=True)
_open_token = libraries.declare(
    _advapi32, "OpenProcessToken", wintypes.BOOL,
    wintypes.HANDLE, wintypes.DWORD, ctypes.POINTER(wintypes.HANDLE),
)  # fmt: skip
_read_token = libraries.declare(
    _advapi32, "GetTokenInformation", wintypes.BOOL,
    wintypes.HANDLE, ctypes.c_int, ctypes.c_void_p, wintypes.DWORD, ctypes.c_void_p,
)  # fmt: skip
_write_identifier = libraries.declare(
    _advapi32, "ConvertSidToStringSidW", wintypes.BOOL,
    ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p),
)  # fmt: skip
_parse = libraries.declare(
    _advapi32, "ConvertStringSecurityDescriptorToSecurityDescriptorW", wintypes.BOOL,
    wintypes.LPCWSTR, wintypes.DWORD, ctypes.POINTER(ctypes.c_void_p), ctypes.c_void_p,
)  # fmt: skip
_write = libraries.declare(
    _advapi32, "ConvertSecurityDescriptorToStringSecurityDescriptorW", wintypes.BOOL,
    ctypes.c_void_p, wintypes.DWORD, wintypes.DWORD, ctypes.POINTER(ctypes.c_void_p),
    ctypes.c_void_p,
)  # fmt: skip
_read = libraries.declare(
    _advapi32, "GetNamedSecurityInfoW", wintypes.DWORD,
    wintypes.LPCWSTR, ctypes.c_int, wintypes.DWORD, ctypes.c_void_p, ctypes.c_void_p,
    ctypes.c_void_p, ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p),
)  # fmt: skip
_create_file = libraries.declare(
    libraries.kernel32, "CreateFileW", wintypes.HANDLE,
    wintypes.LPCWSTR, wintypes.DWORD, wintypes.DWORD, ctypes.POINTER(_Attributes), wintypes.DWORD,
    wintypes.DWORD, wintypes.HANDLE,
)  # fmt: skip
_create_folder = libraries.declare(
    libraries.kernel32,
    "CreateDirectoryW",
    wintypes.BOOL,
    wintypes.LPCWSTR,
    ctypes.POINTER(_Attributes),
)


@functools.cache
def read_user() -> str:
    """Return the identifier (SID) of this process's user. Raises OSError."""
    token = wintypes.HANDLE()
    if not _open_token(libraries.current_process(), _QUERY_TOKEN, ctypes.byref(token)):
        raise libraries.make_error("cannot open this process's token")
    answer = ctypes.create_string_buffer(256)
    try:
        if not _read_token(token, _TOKEN_USER, answer, len(answer), ctypes.byref(wintypes.DWORD())):
            raise libraries.make_error("cannot read this process's user")
    finally:
        libraries.close_handle(token)
    identifier = ctypes.cast(answer, ctypes.POINTER(ctypes.c_void_p))[0]
    text = ctypes.c_void_p()
    if not _write_identifier(identifier, ctypes.byref(text)):
        raise libraries.make_error("cannot write the user's identifier")
    return _take_text(text)


def create_private_file(path: Path) -> int:
    """Make a new file for this user and SYSTEM alone; return a descriptor that writes to it.

    It is never open to others, not even for a moment. Raises OSError.
    """
    with _private_attributes("") as attributes:
        handle = _create_file(str(path), _WRITE, 0, attributes, _NEW_ONLY, _ORDINARY, None)
        if handle in (None, _INVALID):
            raise libraries.make_error(f"cannot make {path}")
    return msvcrt.open_osfhandle(handle, os.O_WRONLY | os.O_BINARY)


def create_private_folder(path: Path) -> None:
    """Make a new folder for this user and SYSTEM alone, also for what is in it. Raises OSError."""
    with _private_attributes("OICI") as attributes:
        if not _create_folder(str(path), attributes):
            raise libraries.make_error(f"cannot make {path}")


def read_access(path: Path) -> str:
    """Return the access control list of a file or folder, as text. Raises OSError."""
    descriptor = ctypes.c_void_p()
    code = _read(
        str(path), _FILE_OBJECT, _ACCESS_LIST, None, None, None, None, ctypes.byref(descriptor)
    )
    if code:
        raise libraries.make_error(f"cannot read who may use {path}", code)
    try:
        return _write_descriptor(descriptor)
    finally:
        libraries.free_local(descriptor)


def is_private(path: Path) -> bool:
    """Whether only this user and SYSTEM may use a file or folder. Raises OSError."""
    with _private_descriptor("") as descriptor:
        private = _write_descriptor(descriptor)
    return _list_users(read_access(path)) <= _list_users(private)


def _list_users(access: str) -> set[str]:
    """Return whom an access control list names; the system has short names for some."""
    return {entry.partition(")")[0].split(";")[5] for entry in access.split("(")[1:]}


@contextmanager
def _private_attributes(inheritance: str) -> Iterator[ctypes._Pointer[_Attributes]]:
    with _private_descriptor(inheritance) as descriptor:
        yield ctypes.pointer(_Attributes(ctypes.sizeof(_Attributes), descriptor, 0))


@contextmanager
def _private_descriptor(inheritance: str) -> Iterator[ctypes.c_void_p]:
    entries = "".join(f"(A;{inheritance};FA;;;{who})" for who in (read_user(), SYSTEM))
    descriptor = ctypes.c_void_p()
    if not _parse(f"D:P{entries}", _VERSION, ctypes.byref(descriptor), None):  # P: inherits nothing
        raise libraries.make_error("cannot make an access control list")
    try:
        yield descriptor
    finally:
        libraries.free_local(descriptor)


def _write_descriptor(descriptor: ctypes.c_void_p) -> str:
    text = ctypes.c_void_p()
    if not _write(descriptor, _VERSION, _ACCESS_LIST, ctypes.byref(text), None):
        raise libraries.make_error("cannot write an access control list")
    return _take_text(text)


def _take_text(text: ctypes.c_void_p) -> str:
    try:
        return ctypes.wstring_at(text)
    finally:
        libraries.free_local(text)
