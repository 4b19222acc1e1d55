"""Signals heard before anybody listens, and after everybody has left."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from sidecar.shutdown import signals
from sidecar.shutdown.signals import Signals

TERM, INT = signal.SIGTERM, signal.SIGINT


@pytest.fixture(autouse=True)
def _handlers():
    """Put this process's own handlers back."""
    before = {number: signal.getsignal(number) for number in (TERM, INT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_what_was_heard_before_is_told_once_and_in_order():
    """A stop during the imports reaches the life that begins after them."""
    heard = Signals()
    told = []
    heard.hear(TERM)
    heard.hear(INT)
    heard.tell(told.append)
    heard.hear(TERM)
    assert told == ["SIGTERM", "SIGINT", "SIGTERM"]
    assert heard.heard == told


def test_nothing_is_told_after_it_was_forgotten():
    """A loop that is gone is called no more; the signal itself is still on record."""
    heard = Signals()
    told = []
    heard.tell(told.append)
    heard.forget()
    heard.hear(TERM)
    assert told == []
    assert heard.heard == ["SIGTERM"]


def test_a_signal_that_comes_while_the_earlier_ones_are_told_is_told_once():
    """One signal never counts as two: the second would interrupt a running job."""
    heard = Signals()
    told = []

    def listener(name):
        told.append(name)
        if len(told) == 1:
            heard.hear(INT)  # as if a handler ran here

    heard.hear(TERM)
    heard.tell(listener)
    assert told == ["SIGTERM", "SIGINT"]


def test_real_signals_are_heard_within_and_ignored_after():
    """A late signal does not turn a clean exit into a death by signal."""
    told = []
    with signals.captured() as heard:
        heard.tell(told.append)
        os.kill(os.getpid(), TERM)
        os.kill(os.getpid(), INT)
        assert told == ["SIGTERM", "SIGINT"]
    os.kill(os.getpid(), TERM)
    assert told == ["SIGTERM", "SIGINT"]
    assert signal.getsignal(TERM) == signal.SIG_IGN


def test_a_child_is_not_deaf_to_interrupts():
    """Started with SIGINT ignored, as a shell starts what runs in its background, we undo that."""
    child = "import signal; print(signal.getsignal(signal.SIGINT))"
    program = (
        "import signal, subprocess, sys\n"
        "from sidecar.shutdown import signals\n"
        "with signals.captured():\n"
        f"    subprocess.run([sys.executable, '-c', {child!r}], check=True)\n"
    )
    said = subprocess.run(
        ["sh", "-c", 'trap "" INT; exec "$@"', "-", sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    ).stdout
    assert "default_int_handler" in said


def test_a_stop_that_was_blocked_before_is_heard():
    """An entrypoint blocks stops until the agent has a handler: none is lost in between."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {TERM})
    try:
        signal.pthread_kill(threading.get_ident(), TERM)
        with signals.captured() as heard:
            assert heard.heard == ["SIGTERM"]
        assert TERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
