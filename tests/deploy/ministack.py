"""Run ministack for a block: an AWS whose Lambda functions are processes of this machine.

It is a program of its own in a virtual environment of its own, because it pins its own botocore:

    python -m venv tests/deploy/venv
    tests/deploy/venv/bin/pip install --require-hashes -r requirements/ministack.txt
"""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from local import aws, leftovers

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = Path(__file__).parent / "venv" / "bin" / "python"
READY_SECONDS = 60.0
LONGEST_START = 65_536


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve on loopback, with its files in `folder`; yields the URL. Its functions end with it."""
    with _keep_port() as port, _running(port, folder):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _running(port: int, folder: Path) -> Iterator[None]:
    environment = {
        "PATH": os.defpath,
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "BIND_HOST": "127.0.0.1",  # its default is every interface
        "GATEWAY_PORT": str(port),
        "MINISTACK_ACCOUNT_ID": aws.ACCOUNT,
        "MINISTACK_REGION": aws.REGION,
        "DOCKER_HOST": f"unix://{folder}/no-docker",
        "AWS_EC2_METADATA_DISABLED": "true",
        leftovers.MARK: str(folder),
    }
    program = [str(PROGRAM), "-m", "ministack"]
    with subprocess.Popen(
        program, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as child:
        log = Log(child, folder / "ministack.log")
        try:
            log.wait_for(b"Running on")
            yield
        finally:
            child.terminate()
            try:
                child.wait(timeout=10)
            except subprocess.TimeoutExpired:
                child.kill()
            leftovers.kill(folder)
            log.thread.join()


class Log:
    """Writes what the program prints to a file, and waits for words in it."""

    def __init__(self, child: subprocess.Popen[bytes], path: Path) -> None:
        self._child = child
        self._path = path
        self._changed = threading.Condition()
        self._text = b""
        self._ended = False
        self.thread = threading.Thread(target=self._copy, daemon=True)
        self.thread.start()

    def _copy(self) -> None:
        assert self._child.stdout
        with self._path.open("wb", buffering=0) as file:
            for line in self._child.stdout:
                file.write(line)
                with self._changed:
                    self._text += line if len(self._text) < LONGEST_START else b""
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_for(self, words: bytes) -> None:
        """Wait until it has printed these words. Raises RuntimeError."""
        with self._changed:
            came = lambda: words in self._text or self._ended  # noqa: E731
            if not self._changed.wait_for(came, READY_SECONDS) or words not in self._text:
                shown = self._text[-2000:].decode(errors="replace")
                raise RuntimeError(f"cannot start ministack: {shown}")


@contextmanager
def _keep_port() -> Iterator[int]:
    """Find a port, and keep it from all others but the program, which says that it may share it.

    Else somebody's connection could have it before the program, which takes seconds to start.
    """
    with socket.socket() as kept:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind(("127.0.0.1", 0))
        yield kept.getsockname()[1]
