"""Stop signals are captured before the imports, delivered once, and ignored at the end."""

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
    """Restore the handlers of this process."""
    before = {number: signal.getsignal(number) for number in (TERM, INT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_earlier_signals_are_delivered_once_and_in_order():
    """A stop during the imports reaches the life that begins after them."""
    received = Signals()
    delivered = []
    received.handle(TERM)
    received.handle(INT)
    received.deliver_to(delivered.append)
    received.handle(TERM)
    assert delivered == ["SIGTERM", "SIGINT", "SIGTERM"]
    assert received.received == delivered


def test_nothing_is_delivered_after_delivery_is_stopped():
    """A loop that has ended is not called; the signal is still among the received ones."""
    received = Signals()
    delivered = []
    received.deliver_to(delivered.append)
    received.stop_delivery()
    received.handle(TERM)
    assert delivered == []
    assert received.received == ["SIGTERM"]


def test_a_signal_during_the_delivery_of_earlier_ones_is_delivered_once():
    """One signal never counts as two: the second would interrupt a running job."""
    received = Signals()
    delivered = []

    def receiver(name):
        delivered.append(name)
        if len(delivered) == 1:
            received.handle(INT)  # as if a handler ran here

    received.handle(TERM)
    received.deliver_to(receiver)
    assert delivered == ["SIGTERM", "SIGINT"]


def test_real_signals_are_captured_within_the_block_and_ignored_after_it():
    """A late signal does not turn a clean exit into a death by signal."""
    delivered = []
    with signals.capture() as received:
        received.deliver_to(delivered.append)
        os.kill(os.getpid(), TERM)
        os.kill(os.getpid(), INT)
        assert delivered == ["SIGTERM", "SIGINT"]
    os.kill(os.getpid(), TERM)
    assert delivered == ["SIGTERM", "SIGINT"]
    assert signal.getsignal(TERM) == signal.SIG_IGN


def test_a_child_reacts_to_sigint():
    """Even where the agent was started with SIGINT ignored, as a shell's background process is."""
    child = "import signal; print(signal.getsignal(signal.SIGINT))"
    program = (
        "import signal, subprocess, sys\n"
        "from sidecar.shutdown import signals\n"
        "with signals.capture():\n"
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


def test_a_signal_that_was_blocked_before_is_received():
    """An entrypoint blocks stop signals until the agent has handlers: none is lost in between."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {TERM})
    try:
        signal.pthread_kill(threading.get_ident(), TERM)
        with signals.capture() as received:
            assert received.received == ["SIGTERM"]
        assert TERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
