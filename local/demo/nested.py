"""The nested container: a process that knows the relay's URI and nothing else of AWS.

A job's step starts it through one FIFO and reads its answer from another, as `docker run` would.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from local import aws
from local.agent import IS_ROOT, runner_user

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from local.stage import Stage

PROGRAM = """
import os, socket
if address := os.environ.get("ADDRESS"):
    connect = socket.socket.connect
    def connect_from(self, target):
        self.bind((address, 0))
        return connect(self, target)
    socket.socket.connect = connect_from
import boto3
print(boto3.client('sts').get_caller_identity()['Arn'])
"""
"""Says who it is. With ADDRESS, all that it connects comes from there."""
TIMEOUT = 20.0
"""Seconds for it to ask AWS who it is."""


class Container:
    """A container that the step starts. `arn` is AWS's answer about who it is."""

    def __init__(self, folder: Path, start: int, answer: int) -> None:
        self.folder = folder
        self.arn = "nothing was asked"
        self._start, self._answer = start, answer

    async def wait_for_start(self) -> str:
        """Wait until the step starts it; returns the relay's URI as the job knows it."""
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self._start, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(self._start)
        return os.read(self._start, 4096).decode().strip()

    async def run(self, uri: str, stage: Stage, address: str = "") -> str:
        """Ask AWS who this is with boto3, which finds its credentials at `uri` by itself.

        `address` is the container's own; without one, it asks from the task's.
        """
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            PROGRAM,
            env={
                "PATH": os.environ.get("PATH", os.defpath),
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": uri,
                "AWS_DEFAULT_REGION": aws.REGION,
                "AWS_ENDPOINT_URL_STS": stage.moto,
                "AWS_EC2_METADATA_DISABLED": "true",
                "ADDRESS": address,
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(TIMEOUT):
                printed, _ = await process.communicate()
            self.arn = (printed.decode(errors="replace").strip().splitlines() or ["nothing"])[-1]
        except TimeoutError:
            self.arn = f"no answer within {TIMEOUT:g} s"
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            os.write(self._answer, f"{self.arn}\n".encode())  # the step waits for it
        return self.arn


@contextmanager
def prepare(stage: Stage, name: str = "container") -> Iterator[Container]:
    """Make the FIFOs through which a step can start the container, in a folder of that name."""
    if sys.platform == "win32":
        raise NotImplementedError("__main__ refuses it before")
    import pwd  # not there on Windows

    folder = stage.folder / name
    folder.mkdir()
    folder.chmod(0o755)
    opened: list[int] = []
    try:
        for fifo in ("start", "answer"):
            path = folder / fifo
            os.mkfifo(path, 0o600)
            if IS_ROOT:
                user = pwd.getpwnam(runner_user())
                os.chown(path, user.pw_uid, user.pw_gid)
            # For reading and writing: so it neither blocks nor ends when the other side does.
            opened.append(os.open(path, os.O_RDWR | os.O_NONBLOCK))
        yield Container(folder, *opened)
    finally:
        for descriptor in opened:
            with suppress(OSError):
                os.close(descriptor)
