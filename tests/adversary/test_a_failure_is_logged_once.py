"""A job that makes the same thing fail again and again does not fill the log."""

import asyncio
import errno
import os
import sys
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from sidecar.docker import proxy
from sidecar.docker.created import ObjectRecord

if sys.platform == "win32":
    pytest.skip("the docker proxy listens in another way there", allow_module_level=True)


@pytest.mark.parametrize("mended", [True, False], ids=["mended", "unmended"])
def test_a_record_that_cannot_be_written_is_one_line(mended, tmp_path):
    """However many objects a job creates; unmended, one for each."""
    record = ObjectRecord(tmp_path / "missing" / "record")
    with capture_logs() as logs:
        for number in range(100):
            record.add("container", f"{number:064x}")
            if not mended:
                record._write_error = None
    failed = [line for line in logs if line["event"] == "docker.record_failed"]
    assert len(failed) == (1 if mended else 100)


@pytest.mark.parametrize("mended", [True, False], ids=["mended", "unmended"])
def test_a_client_that_cannot_be_accepted_is_one_line(mended, monkeypatch):
    """However long there is no file for it; and again after one that could be."""
    refusals = [OSError(errno.EMFILE, os.strerror(errno.EMFILE))] * 50
    monkeypatch.setattr(proxy, "_ACCEPT_PAUSE", 0.0)
    monkeypatch.setattr(proxy, "Connection", lambda *_: object())

    def accept():
        if not mended:
            running._accept_error = None
        if refusals:
            raise refusals.pop()
        raise BlockingIOError

    async def play():
        nonlocal running
        running = proxy.Proxy(None, None)
        listener = SimpleNamespace(accept=accept, fileno=lambda: reading, close=lambda: None)
        running.listen(listener)
        while refusals:  # noqa: ASYNC110  no event for it
            await asyncio.sleep(0)
        await running.close()

    running = None
    reading, writing = os.pipe()
    os.write(writing, b"x")
    try:
        with capture_logs() as logs:
            asyncio.run(play())
    finally:
        os.close(reading)
        os.close(writing)
    failed = [line for line in logs if line["event"] == "docker.accept_failed"]
    assert len(failed) == (1 if mended else 50)
