"""Read a log, from CloudWatch Logs or a file: the events in it, and the lines that are none."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.errors import Exit, LaunchError
from launcher.explain.case import Event
from launcher.explain.entries import read_time
from sidecar.aws.calls import Call, Service, backoff
from sidecar.aws.session import ServiceClient
from sidecar.net.retry import call_with_retries

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from launcher.explain.sources.tasks import LogPlace

LOGS = Service("logs", "CloudWatch Logs", "log group or stream")
TRIES = 3
PAGES, PAGE = 20, 5000
"""Pages of a log that are read at most, and the lines of one."""
QUIET = '-"listener.printed" -"configure.printed"'
"""A filter pattern: what the runner itself prints is left out, and may be very long."""
LARGEST = 64 * 1024 * 1024
"""Bytes of a file that are read at most."""
LINES_KEPT = 15
"""Lines that are no event, at most: the last ones."""
NOISE = ("listener.printed", "configure.printed")


class AgentLogs(ServiceClient):
    """Reads logs of one region. Every call raises AwsError, in one of its kinds."""

    def __init__(self, region: str | None) -> None:
        super().__init__(LOGS, region)

    async def read(self, place: LogPlace) -> list[str]:
        """Read the lines of an agent's log, oldest first, without what its runner printed."""
        lines: list[str] = []
        token: str | None = None
        for _ in range(PAGES):
            page = await self._read_page(place, token)
            lines += [str(each.get("message", "")) for each in page.get("events", [])]
            token = page.get("nextToken")
            if token is None:
                break
        return lines

    async def _read_page(self, place: LogPlace, token: str | None) -> Mapping[str, Any]:
        request: dict[str, Any] = {
            "logGroupName": place.group,
            "logStreamNames": [place.stream],
            "filterPattern": QUIET,
            "limit": PAGE,
        }
        if token is not None:
            request["nextToken"] = token

        async def read() -> Mapping[str, Any]:
            client = await self.connect()
            answer: Mapping[str, Any] = await client.filter_log_events(**request)
            return answer

        action = f"cannot read the agent's log {place.group} {place.stream}"
        call = Call(action, LOGS, "logs:FilterLogEvents", "logConfiguration of the task definition")
        return await call_with_retries(lambda: call.run(read), backoff(), tries=TRIES)


def read_file(name: str) -> list[str]:
    """Read the lines of a log in a file, or of standard input (`-`). Raises LaunchError."""
    try:
        if name == "-":
            return sys.stdin.read(LARGEST).splitlines()
        with Path(name).open(encoding="utf-8", errors="replace") as file:
            return file.read(LARGEST).splitlines()
    except OSError as error:
        text = f"cannot read the log {name} (--log): {error.strerror}"
        raise LaunchError(Exit.SETTINGS, text) from error


def parse(lines: Iterable[str]) -> tuple[list[Event], list[str]]:
    """Find the events in the lines; return them, and the last lines that are none.

    Before an event may stand what a log driver or a tool puts there: a time, a container's name.
    """
    events: list[Event] = []
    others: list[str] = []
    for line in lines:
        event = _parse_line(line)
        if event is None:
            others.append(line)
        elif event.name not in NOISE:
            events.append(event)
    return events, [line for line in others if line.strip()][-LINES_KEPT:]


def _parse_line(line: str) -> Event | None:
    begin = line.find("{")
    if begin < 0:
        return None
    try:
        found = json.loads(line[begin:])
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not isinstance(found.get("event"), str):
        return None
    name, level = found.pop("event"), str(found.pop("level", "info"))
    return Event(name, level, read_time(found.pop("timestamp", None)), found)
