"""The files of a configured runner on POSIX: the key is its owner's alone."""

import os
import sys

assert sys.platform != "win32"

SEALS = False
"""Whether the key is sealed. A plain one is text, with a byte order mark."""


def write(path: str, data: bytes, private: bool) -> None:
    """Write a file; nobody else may read a private one."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    descriptor = os.open(path, flags, 0o600 if private else 0o644)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)


def seal(data: bytes) -> bytes:
    """Return the runner's key as it stands in its file: in plain text."""
    return data


def unseal(data: bytes) -> bytes:
    """Return the runner's key from what stands in its file."""
    return data
