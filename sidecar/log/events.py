"""Events to stdout: JSON in a task, readable in a terminal, secrets in neither."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

import structlog

if TYPE_CHECKING:
    from collections.abc import MutableMapping

HIDDEN = "***"
_secrets: set[str] = set()


def hide(secret: str) -> None:
    """Never show `secret` in any event from now on. The last guard, not the first."""
    if len(secret) >= 8:  # shorter ones would eat ordinary text
        _secrets.add(secret)


def redacted(value: Any) -> Any:
    """Return `value` with every hidden secret replaced, however deep it stands."""
    match value:
        case str():
            for secret in sorted(_secrets, key=len, reverse=True):  # one may hold another
                value = value.replace(secret, HIDDEN)
            return value
        case dict():
            return {key: redacted(item) for key, item in value.items()}
        case list() | tuple():
            return [redacted(item) for item in value]
        case bool() | int() | float() | None:
            return value
        case _:
            return redacted(repr(value))


def _redact(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        event[key] = redacted(value)
    return event


class _Output:
    """A stream that may go away: a life goes on without anybody who reads its log."""

    def __init__(self, name: str) -> None:
        self._name = name

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            getattr(sys, self._name).write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            getattr(sys, self._name).flush()


def flush() -> None:
    """Write out what is still held back; nobody closes the streams after this."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()


def configure(
    style: Literal["json", "console", "auto"],
    level: str,
    stream: Literal["stdout", "stderr"] = "stdout",
) -> None:
    """Send events of `level` and above to `stream` in the given style."""
    terminal = getattr(sys, stream).isatty()
    console = style == "console" or (style == "auto" and terminal)
    renderer: Any = (
        structlog.dev.ConsoleRenderer(
            colors=terminal, exception_formatter=structlog.dev.plain_traceback
        )
        if console
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _redact,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.WriteLoggerFactory(_Output(stream)),  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )
