"""Configure structlog: JSON in a task, readable in a terminal, known secrets in neither."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

import structlog

from sidecar import host
from sidecar.log.event_limit import fit
from sidecar.log.masks import mask_known_secrets

if TYPE_CHECKING:
    from collections.abc import MutableMapping

JSON = structlog.processors.JSONRenderer()


def _mask(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        event[key] = mask_known_secrets(value)
    return event


def _render(logger: Any, name: str, event: MutableMapping[str, Any]) -> str:
    """Render one event as a line of JSON that no container runtime cuts into two."""
    return fit(event, lambda shown: str(JSON(logger, name, dict(shown))))


class _Output:
    """Write to a standard stream, and ignore that it is closed: the life goes on without it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            getattr(sys, self._name).write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            getattr(sys, self._name).flush()


def flush() -> None:
    """Flush both standard streams: the process exits without the interpreter doing so."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()


def configure(
    style: Literal["json", "console", "auto"],
    level: str,
    stream: Literal["stdout", "stderr"] = "stdout",
) -> None:
    """Write events of `level` and above to `stream`; auto is console on a terminal, else json."""
    terminal = getattr(sys, stream).isatty()
    console = style == "console" or (style == "auto" and terminal)
    renderer: Any = (
        structlog.dev.ConsoleRenderer(
            colors=terminal and host.may_color(), exception_formatter=structlog.dev.plain_traceback
        )
        if console
        else _render
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _mask,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.WriteLoggerFactory(_Output(stream)),  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )
