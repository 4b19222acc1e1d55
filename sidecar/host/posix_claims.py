"""Claim a network namespace on POSIX, so that only one agent lives in it.

A claim is an abstract socket: it belongs to its network namespace, and ends with its process,
however that ends. Any process may make such a socket, a job too. So only one of root's counts, and
the kernel tells whose a socket is: by sock_diag(7), without a connection to it.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

assert sys.platform != "win32"  # noqa: S101  tells the type checker where it is

_CLAIM = "\0ecs-runner-sidecar"
_ROOT = 0
_PATIENCE = 1.0
"""Seconds in which the kernel lists the listening sockets: others may have made very many."""

_SOCK_DIAG, _BY_FAMILY = 4, 20
_ERROR, _DONE = 2, 3
_REQUEST_DUMP = 0x1 | 0x300
_LISTENING = 1 << 10
_SHOW_NAME_AND_UID = 0x1 | 0x40
_NAME, _UID = 0, 7
_HEADER, _MESSAGE = 16, 16
_LARGEST = 1 << 16


def claim_network() -> socket.socket | None:
    """Claim this network namespace while the returned socket is open; None if it is taken.

    If another user has the usual name, the claim has another one, which nobody can foresee.
    """
    claim, name = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), _CLAIM
    try:
        claim.bind(name)
    except OSError:
        name = f"{_CLAIM}-{os.urandom(8).hex()}"
        claim.bind(name)
    claim.listen(1)
    owners = _list_owners()
    if owners is None:
        taken = name != _CLAIM and _is_usual_claim_of_root()
    else:
        taken = any(uid == _ROOT and other != name for other, uid in owners)
    if taken:
        claim.close()
        return None
    return claim


def _list_owners() -> list[tuple[str, int]] | None:
    """Return the name and the user's number of every claim; None if the kernel does not tell."""
    family = getattr(socket, "AF_NETLINK", None)
    if family is None:  # only Linux has it
        return None
    body = struct.pack(
        "=BBHIIIII", socket.AF_UNIX, 0, 0, _LISTENING, 0, _SHOW_NAME_AND_UID, 2**32 - 1, 2**32 - 1
    )
    head = struct.pack("=IHHII", _HEADER + len(body), _BY_FAMILY, _REQUEST_DUMP, 1, 0)
    try:
        with socket.socket(family, socket.SOCK_RAW, _SOCK_DIAG) as kernel:
            kernel.settimeout(_PATIENCE)
            kernel.sendto(head + body, (0, 0))
            return list(_read_claims(kernel))
    except (OSError, LookupError, struct.error):
        return None


def _read_claims(kernel: socket.socket) -> Iterator[tuple[str, int]]:
    """Yield the claims that the kernel lists. Raises LookupError if it does not tell whose."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        for kind, message in _split(kernel.recv(_LARGEST), 0, "=IH10x"):
            if kind == _DONE:
                return
            if kind == _ERROR:
                raise LookupError
            attributes = dict(_split(message, _MESSAGE, "=HH"))
            name = os.fsdecode(attributes.get(_NAME, b""))
            if name == _CLAIM or name.startswith(f"{_CLAIM}-"):
                yield name, struct.unpack("=I", attributes[_UID])[0]
    raise TimeoutError


def _split(data: bytes, start: int, form: str) -> Iterator[tuple[int, bytes]]:
    """Yield kind and content of each message, or attribute, of netlink's (netlink(7))."""
    head = struct.calcsize(form)
    while start + head <= len(data):
        length, kind = struct.unpack_from(form, data, start)
        if length < head:
            return
        yield kind, data[start + head : start + length]
        start += (length + 3) & ~3


def _is_usual_claim_of_root() -> bool:
    """Connect to the usual claim, and ask the kernel whose it is (unix(7), SO_PEERCRED).

    For kernels before Linux 5.3. A full queue is taken for an agent's, which accepts nobody: there
    a job can keep the next agent out.
    """
    option = getattr(socket, "SO_PEERCRED", None)  # only Linux has it
    if option is None:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        try:
            other.setblocking(False)
            other.connect(_CLAIM)
            _, uid, _ = struct.unpack("=iII", other.getsockopt(socket.SOL_SOCKET, option, 12))
        except BlockingIOError:
            return True
        except OSError:
            return False
    return bool(uid == _ROOT)
