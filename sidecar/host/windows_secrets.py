"""The runner's own key on Windows, which its program keeps encrypted."""

from __future__ import annotations

import sys

assert sys.platform == "win32"  # noqa: S101  tells the type checker where it is


def seal_runner_key(content: bytes) -> bytes:
    """Return a runner's key as its program keeps it: only this machine can read it.

    As `RSAEncryptedFileKeyManager` of actions/runner does. Raises OSError.
    """
    from sidecar.host.win32.dpapi import seal  # late: few lives need it

    return seal(content)


def unseal_runner_key(content: bytes) -> bytes:
    """Return what is in the file of a runner's key. Raises OSError, also if it is not sealed."""
    from sidecar.host.win32.dpapi import unseal  # late: few lives need it

    return unseal(content)
