"""Make the tables that the references of agent and launcher have in common."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from sidecar.errors import ExitCode

LEVELS = {"debug", "info", "warning", "error", "exception"}
Events = dict[str, tuple[str, tuple[str, ...]]]
"""By name: the level, and the keys of the facts."""


def events_in_code(sources: Path) -> Events:
    """Return every event that the code below a folder logs."""
    found: Events = {}
    for path in sorted(sources.rglob("*.py")):
        for call in _log_calls(ast.parse(path.read_text())):
            given = [word.arg for word in call.keywords if word.arg]
            for name in _names(call.args[0]):
                _, keys = found.get(name, ("", ()))
                merged = tuple(dict.fromkeys((*keys, *given)))
                found[name] = (call.func.attr, merged)  # type: ignore[attr-defined]
    return found


def _log_calls(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in LEVELS
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == "log"
            and node.args
        ):
            yield node


def _names(argument: ast.expr) -> Iterator[str]:
    """Return the event's name, or both of `a if first else b`."""
    branches = (argument.body, argument.orelse) if isinstance(argument, ast.IfExp) else (argument,)
    for branch in branches:
        if isinstance(branch, ast.Constant):
            yield branch.value


def list_events(found: Events, meanings: Mapping[str, str]) -> Iterator[str]:
    """Yield a row for each event."""
    yield "| event | level | facts | meaning |"
    yield "|---|---|---|---|"
    for name, (level, keys) in sorted(found.items()):
        facts = ", ".join(f"`{key}`" for key in keys) or "-"
        yield f"| `{name}` | {level} | {facts} | {meanings.get(name, '')} |"


def list_exit_codes(codes: Iterable[ExitCode]) -> Iterator[str]:
    """Yield a row for each exit code."""
    yield "| code | name | meaning |"
    yield "|---|---|---|"
    for code in codes:
        yield f"| {int(code)} | {code.name.lower().replace('_', '-')} | {code.meaning} |"


def show_default(value: object) -> str:
    """Return a setting's default as a table shows it."""
    if value is None or value == ():
        return "-"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"
