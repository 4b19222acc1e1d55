"""A listener, a deregistration and a drain of them, whose behaviour a test decides."""

import asyncio

from sidecar.errors import Exit
from sidecar.lifecycle.drain import Drain
from sidecar.phase import Phase
from sidecar.shutdown.cleanup import CleanupStack
from sidecar.shutdown.stop import Stop


class Process:
    """A process that ends when a test says so."""

    def __init__(self):
        self.ended = asyncio.get_running_loop().create_future()
        self.killed = False

    async def read_last_output(self):
        """Return at once: it writes nothing."""

    async def kill(self, _timeout=0.0):
        """End at once, unless it has ended."""
        self.killed = True
        if not self.ended.done():
            self.ended.set_result(-9)


class Listener:
    """A listener, as far as the drain needs one; a test says what it does."""

    def __init__(self, *, busy=False, stubborn=False, deaf=False, result=None):
        self.process = Process()
        self.busy = busy
        self.had_job = busy
        self.result = result
        self.interrupted = self.session_limit_reached = False
        self._stubborn = stubborn
        self._deaf = deaf

    @property
    def ended(self):
        """The exit code, once there is one."""
        return self.process.ended

    @property
    def running(self):
        """Whether it has none yet."""
        return not self.ended.done()

    def interrupt(self, *, busy):  # noqa: ARG002
        """End, unless it is stubborn, or cannot be interrupted."""
        self.interrupted = True
        if not (self._stubborn or self._deaf):
            self.ended.set_result(0)
        return not self._deaf

    def choose_exit_code(self, *, stopped):
        """Return what the real one would."""
        if stopped and self.had_job and self.interrupted and self.result is None:
            return Exit.CANCELLED
        return Exit.DONE


class Deregistration:
    """A deregistration that GitHub does, refuses, or does not answer."""

    def __init__(self, answer="gone"):
        self.busy = False
        self.left = 0
        self._answer = answer

    async def leave(self):
        """Deregister, or fail."""
        self.left += 1
        if self._answer == "gone":
            return
        if self._answer == "busy":
            self.busy = True
        else:
            self._answer()
        raise RuntimeError


def drain(listener, deregistration=None, budget=40.0):
    """Make a drain of these parts."""
    cleanup_stack, deregistration = CleanupStack(), deregistration or Deregistration()
    cleanup_step = cleanup_stack.register_step("runner", deregistration.leave)
    return Drain(listener, deregistration, cleanup_step, cleanup_stack, Stop(budget), Phase())
