"""A job that sends its hooks' events again and again does not fill the log."""

import asyncio
import sys

import pytest
import structlog
from structlog.testing import capture_logs

from sidecar import host
from sidecar.phase import Phase
from sidecar.runner.listener import Listener
from tests.support.loops import on_both, run

if sys.platform == "win32":
    pytest.skip("the channel is a FIFO on POSIX alone", allow_module_level=True)

EVENTS = 3_000
"""30 KB of the word, and more than the FIFO takes at once."""


class Unmended(Listener):
    """A listener that logs every event, as all did once."""

    def on_hook_event(self, event):
        """Handle an event of a job hook."""
        if event == "completed":
            structlog.get_logger().info("job.completed")


@on_both
@pytest.mark.parametrize("kind", [Listener, Unmended], ids=["mended", "unmended"])
@pytest.mark.parametrize("event", ["completed", "started"])
def test_each_event_is_logged_once(loop, kind, event, tmp_path):
    """However often it comes through the hooks' channel."""
    listener, words = kind(Phase()), []

    async def play():
        done = asyncio.Event()

        def take(word):
            listener.on_hook_event(word)
            words.append(word)
            if word == "end":
                done.set()

        async with host.open_hook_channel(tmp_path, None, take) as channel:
            await asyncio.to_thread(write, channel)
            await done.wait()

    def write(channel):
        with channel.open("wb", buffering=0) as pipe:
            pipe.write(b"%s\n" % event.encode() * EVENTS + b"end\n")

    with capture_logs() as logs:
        run(loop, play())
    assert words.count(event) > EVENTS * 0.9  # a read may end within a word
    logged = [line for line in logs if line["event"] == f"job.{event}"]
    if kind is Unmended:
        assert event == "started" or len(logged) > EVENTS * 0.9
    else:
        assert len(logged) == 1
    assert not (tmp_path / "hook").exists()
