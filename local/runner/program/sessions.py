"""The session of a listener: opened, and tried again until GitHub lets it in."""

from typing import Callable

from . import codes
from .broker import Broker, ConflictError, ForbiddenError, UnauthorizedError
from .misbehaviour import Misbehaviour
from .terminal import Terminal, now
from .wire import UnreachableError

_DELETED = (
    "Failed to create a session. The runner registration has been deleted from the server, please "
    "re-configure. Runner registrations are automatically deleted for runners that have not "
    "connected to the service recently."
)
_CLOCK = (
    "The local machine's clock may be out of sync with the server time by more than five minutes. "
    "Please sync your clock with your domain or internet time and try again."
)
_INTERVAL = 30.0
_CONFLICT_SECONDS = 240.0


class Sessions:
    """Opens sessions; `sleep` may end the program's waiting by an error of its own."""

    def __init__(
        self,
        broker: Broker,
        terminal: Terminal,
        knobs: Misbehaviour,
        sleep: Callable[[float], None],
    ) -> None:
        self._broker, self._terminal, self._sleep = broker, terminal, sleep
        self._interval = knobs.seconds("session_retry_seconds", _INTERVAL)
        self._limit = knobs.seconds("session_conflict_seconds", _CONFLICT_SECONDS)
        # What is printed is the real program's limit, however fast this one runs.
        self._shown = self._limit if knobs.knob("session_conflict_seconds") else _CONFLICT_SECONDS
        self._conflicts = 0
        self._troubled = False

    def open(self) -> int:
        """Open one; gives SUCCESS, or the exit code of a listener that must not go on."""
        self._troubled = False
        while True:
            try:
                self._connect()
            except (UnreachableError, codes.TerminatedError) as error:
                self._failed(str(error))
            except ConflictError as error:
                if self._conflict():
                    return self._refused(error, codes.SESSION_CONFLICT)
                self._failed(str(error))
            except (codes.GoneError, ForbiddenError, UnauthorizedError) as error:
                return self._refused(error, codes.TERMINATED)
            else:
                if self._troubled:
                    self._terminal.stamp("Runner reconnected.")
                return codes.SUCCESS
            self._sleep(self._interval)

    def _failed(self, text: str) -> None:
        """Print the first of several failures in a row."""
        if "Current server time is" in text:
            self._terminal.error(_CLOCK)
        if not self._troubled:
            line = f"Runner connect error: {text}. Retrying until reconnected."
            self._terminal.error(f"{now()}: {line}")
        self._troubled = True

    def _refused(self, why: object, code: int) -> int:
        gone = isinstance(why, codes.GoneError)
        self._terminal.error(_DELETED if gone else f"Failed to create session. {why}")
        return code

    def _connect(self) -> None:
        self._broker.connect()
        self._terminal.line()
        self._terminal.success("Connected to GitHub")
        self._terminal.line()
        self._broker.open_session()

    def _conflict(self) -> bool:
        """Print that another listener is there; tell whether that has lasted too long."""
        self._terminal.error("A session for this runner already exists.")
        self._conflicts += 1
        if self._conflicts * self._interval < self._limit or self._conflicts == 1:
            return False
        stop = "Stop retry on SessionConflictException after retried for"
        self._terminal.error(f"{stop} {self._shown:g} seconds.")
        return True
