"""The network namespace on POSIX: marks, and the loopback address."""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from contextlib import suppress

assert sys.platform != "win32"  # noqa: S101  tells the type checker where it is

AGENT_MARK = 0x45525343
"""The SO_MARK of the agent's own sockets: "ERSC". A job may not set it (EPERM)."""

_CAP_NET_ADMIN = 12
_RTM_NEWADDR, _RTM_DELADDR = 20, 21
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_CREATE = 0x1, 0x4, 0x400
_IFA_ADDRESS, _IFA_LOCAL, _IFA_LABEL = 1, 2, 3
_SCOPE_HOST = 254
_ADDRESS_LABEL = b"lo:sidecar\0"
_NETLINK_TIMEOUT = 2.0


def explain_error(error: OSError) -> str:
    """Return why a call of the system failed, in a few words."""
    return str(error) if error.errno is None else os.strerror(error.errno).lower()


def mark(sock: socket.socket) -> None:
    """Set SO_MARK on a socket of the agent's, where this process may."""
    option = getattr(socket, "SO_MARK", None)  # only Linux has it
    if option is not None:
        with suppress(PermissionError):
            sock.setsockopt(socket.SOL_SOCKET, option, AGENT_MARK)


def bind_to_interface(sock: socket.socket, interface: str) -> bool:
    """Let a socket send and receive by this interface only; return whether this is allowed here.

    It needs NET_RAW before Linux 5.7. Raises OSError if there is no such interface any more.
    """
    option = getattr(socket, "SO_BINDTODEVICE", None)  # only Linux has it
    if option is None:
        return False
    try:
        sock.setsockopt(socket.SOL_SOCKET, option, interface.encode() + b"\0")
    except PermissionError:
        return False
    return True


def may_filter() -> bool:
    """Whether this process may change its network namespace's rules: root with NET_ADMIN."""
    if os.geteuid() != 0:
        return False
    with suppress(OSError), open("/proc/self/status", "rb") as file:  # noqa: PTH123
        for line in file:
            if line.startswith(b"CapEff:"):
                return bool(int(line.split()[1], 16) >> _CAP_NET_ADMIN & 1)
    return False


def add_loopback_address(address: str) -> None:
    """Add one IPv4 address (/32, with our label) to the loopback interface. Raises OSError.

    One message to the kernel: this needs no tool, and never adds more than that one address. An
    address that is there already is no error.
    """
    _change_address(_RTM_NEWADDR, _NLM_F_CREATE, address, errno.EEXIST)


def remove_loopback_address(address: str) -> None:
    """Remove that address from the loopback interface, if it is there. Raises OSError."""
    _change_address(_RTM_DELADDR, 0, address, errno.EADDRNOTAVAIL)


def _change_address(verb: int, flags: int, address: str, harmless: int) -> None:
    """Send one rtnetlink message about an address of `lo` (rtnetlink(7)); read the answer."""
    family = getattr(socket, "AF_NETLINK", None)
    if family is None:  # only Linux has it
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
    number = socket.inet_aton(address)
    body = struct.pack("=BBBBI", socket.AF_INET, 32, 0, _SCOPE_HOST, socket.if_nametoindex("lo"))
    attributes = ((_IFA_LOCAL, number), (_IFA_ADDRESS, number), (_IFA_LABEL, _ADDRESS_LABEL))
    for kind, value in attributes:
        body += struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)
    flags |= _NLM_F_REQUEST | _NLM_F_ACK
    with socket.socket(family, socket.SOCK_RAW, 0) as kernel:
        kernel.settimeout(_NETLINK_TIMEOUT)
        kernel.sendto(struct.pack("=IHHII", 16 + len(body), verb, flags, 1, 0) + body, (0, 0))
        (answer,) = struct.unpack_from("=i", kernel.recv(4096), 16)
    if answer not in (0, -harmless):
        raise OSError(-answer, os.strerror(-answer))
