"""Run a test in its own network namespace, without a route out: nothing leaves it."""

from __future__ import annotations

import asyncio
import ctypes
import os
import subprocess
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine

CLONE_NEWNET = 0x40000000
ECS_AGENT = "169.254.170.2"


def in_namespace(play: Coroutine[Any, Any, None], *, timeout: float = 240.0) -> None:
    """Run `play` in a new network namespace, where the ECS agent's address is local.

    A namespace belongs to a thread, so this one gets a new thread. The threads and processes that
    it starts are in the namespace too. The namespace ends with the last of them.
    """
    failures: list[BaseException] = []

    def run() -> None:
        try:
            _unshare()
            asyncio.run(asyncio.wait_for(play, timeout))
        except BaseException as error:  # noqa: BLE001  raised again below
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


def _unshare() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    for command in ("link set lo up", f"addr add {ECS_AGENT}/32 dev lo"):
        subprocess.run(["ip", *command.split()], check=True, timeout=30)
