"""The record of the real runner's lives, and what of it can be compared.

`runner-recorded.json` is data: another record of the same form replaces it. A life has `scenario`
(a Python function that says what happened, see `plot`), `lines` (`verb stream: text`, with
placeholders), `calls` (with repeats counted) and the `conclusion` that the runner reported. A list
of exactly 60 entries was cut there.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

FILE = Path(__file__).with_name("runner-recorded.json")
CUT = 60
AGENT = "POST /api/v3/repos/octo/repo/actions/runners/"
"""How the agent's own calls begin: it got tokens and just-in-time configurations."""
_NO_SESSION, _NO_TOKEN = "DELETE /broker/session -> 401", "POST /oauth/token -> 400"
_BOX = re.compile(r"-{20,}|\|.*\|")


@dataclass(frozen=True)
class Life:
    """One recorded life."""

    name: str
    scenario: tuple[str, ...]
    lines: tuple[str, ...]
    calls: tuple[str, ...]
    conclusion: tuple[str, ...]

    @property
    def admin(self) -> bool:
        """Whether the runner registered in the admin flow."""
        return any("/runner-groups" in call for call in self.calls)

    @property
    def just_in_time(self) -> bool:
        """Whether the runner was given its configuration."""
        return not any(line.startswith("configure") for line in self.lines)


def read() -> tuple[dict[str, Life], dict[str, str]]:
    """Read all lives, and the bodies of calls."""
    text = json.loads(FILE.read_text())
    lives = {}
    for name, each in text["lives"].items():
        parts = (tuple(each[key]) for key in ("scenario", "lines", "calls", "conclusion"))
        lives[name] = Life(name, *parts)
    return lives, text["bodies"]


def by_stream(lines: tuple[str, ...] | list[str]) -> dict[str, list[str]]:
    """Sort lines by verb and stream: between two streams there is no order."""
    found: dict[str, list[str]] = {}
    for line in lines:
        start, _, text = line.partition(": ")
        text = text or line.partition(":")[2].strip()
        if text and not _BOX.fullmatch(text):
            found.setdefault(start, []).append(_plain(text))
    return found


def _plain(text: str) -> str:
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", "TIMESTAMP", text)
    text = re.sub(r"Request Id: [0-9a-fA-F]*", "Request Id: ID", text)
    text = re.sub(r"http://(GITHUB|127\.0\.0\.1)(:\d+)?", "http://GITHUB", text)
    text = re.sub(r"/runners/\d+", "/runners/N", text)
    text = "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)
    text = text.replace('Runner "box', 'Runner "RUNNER_NAME')
    return re.sub(r', "(documentation_url|status)": "[^"]*"', "", text)


def calls(
    recorded: tuple[str, ...] | list[str], *, admin: bool = True
) -> tuple[list[str], list[str]]:
    """Give the calls in their order, repeats once; and apart from them those for a message.

    Left out, as the record has them one way and the other: a token asked for in vain after a
    session that could not be deleted; an open request for a message that ends with the listener,
    or without one: how long it is held is GitHub's own choice.
    """
    others: list[str] = []
    messages: list[str] = []
    left = ""
    for each in recorded:
        call = _call(re.sub(r" x\d+$", "", each))
        left, before = call, left
        if (
            AGENT in each
            or (not admin and "/actions/runners/N" in call)
            or (call == _NO_TOKEN and before == _NO_SESSION)
        ):
            continue
        if call.endswith(" -> 202"):
            continue
        into = messages if "GET /broker/message" in call else others
        if not into or into[-1] != call:
            into.append(call)
    if (
        others
        and others[-1] == _NO_TOKEN
        and any("POST /broker/session" in each for each in others)
    ):
        others.pop()
    while messages and messages[-1].endswith((" -> 404", " -> client left", " -> closed")):
        messages.pop()
    return others, messages


def _call(text: str) -> str:
    call, _, status = text.partition(" -> ")
    method, _, path = call.partition(" ")
    parts = urlsplit(path)
    place = re.sub(r"/pipelines/[^/]+", "/pipelines/tenant", parts.path)
    place = re.sub(r"/(agents|runners)/\d+", r"/\1/N", place)
    query = dict(parse_qsl(parts.query))
    if place.startswith("/broker/"):
        query = {"status": query["status"]} if "status" in query else {}
    if query.get("connectOptions") == "1":
        query = {"connectOptions": "1"}
    for name in ("agentName", "name"):
        if name in query:
            query[name] = "NAME"
    asked = "&".join(f"{name}={value}" for name, value in query.items())
    return f"{method} {place}{'?' + asked if asked else ''} -> {status}"


def kind(value: Any) -> str:
    """Give the type that a value has in JSON."""
    return "number" if type(value) in (int, float) else type(value).__name__


def mended(text: str) -> Any:
    """Read JSON that was cut off somewhere: what is whole of it."""
    while text:
        opened, inside, escaped = [], False, False
        for char in text:
            if escaped or char == "\\":
                escaped = not escaped
            elif char == '"':
                inside = not inside
            elif not inside and char in "{[":
                opened.append("}" if char == "{" else "]")
            elif not inside and char in "}]":
                opened.pop()
        ends = "".join(reversed(opened))
        try:
            return json.loads(text + ends)
        except ValueError:
            text = text[: max(text.rfind(","), text.rfind("{"), text.rfind("["), 0)]
    raise ValueError("nothing of it is whole")
