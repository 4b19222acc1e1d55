"""The clock of a loop whose time stands still while its process does."""

import asyncio
import socket
import threading
from contextlib import nullcontext

import pytest

from tests.support.patient_clock import patient

SHORT = 0.5
"""Seconds for an answer."""


def stand_still():
    """Give no other callback a turn, for longer than anybody waits."""
    threading.Event().wait(3 * SHORT)


async def ask_and_stand_still():
    """Wait for an answer that takes some turns, while the process stands still."""
    loop = asyncio.get_running_loop()
    near, far = socket.socketpair()

    async def answer():
        while True:
            await loop.sock_sendall(far, await loop.sock_recv(far, 1))

    with near, far:
        for end in (near, far):
            end.setblocking(False)
        answering = asyncio.create_task(answer())
        try:
            loop.call_soon(stand_still)
            async with asyncio.timeout(SHORT):
                for _ in range(3):
                    await loop.sock_sendall(near, b".")
                    await loop.sock_recv(near, 1)
        finally:
            answering.cancel()
            await asyncio.wait([answering])


def play(scene, clock):
    """Run a scene within a clock."""

    async def run():
        with clock(asyncio.get_running_loop()):
            await scene

    asyncio.run(run())


def test_a_process_that_stands_still_makes_nobody_late():
    """The same call fails where time passes for the loop, too."""
    play(ask_and_stand_still(), patient)
    with pytest.raises(TimeoutError):
        play(ask_and_stand_still(), lambda _loop: nullcontext())


def test_who_has_a_turn_and_no_answer_is_late():
    """A deadline is one: also where nothing else happens."""

    async def scene():
        loop = asyncio.get_running_loop()
        begun = loop.time()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SHORT):
                await asyncio.Event().wait()
        assert loop.time() - begun >= SHORT

    play(scene(), patient)
