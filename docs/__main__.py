"""Writes the pages that come from code: `make docs`. A test holds that they are up to date."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from docs import failures_page
from docs.events import EVENTS
from sidecar.errors import Exit
from sidecar.settings.model import Settings, option, variable

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
PAGE = HERE / "reference.md"
FAILURES = HERE / "failures.md"
SOURCES = HERE.parent / "sidecar"
LEVELS = {"debug", "info", "warning", "error", "exception"}


def events_in_code(sources: Path = SOURCES) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return every event that the code logs, with its level and the keys of its facts."""
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
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


def _settings() -> Iterator[str]:
    yield "| variable | option | default | meaning | example |"
    yield "|---|---|---|---|---|"
    for field, info in Settings.model_fields.items():
        default = "required" if info.is_required() else _default(info.default)
        example = (info.examples or [""])[0]
        yield (
            f"| `{variable(field)}` | `{option(field)}` | {default} | {info.description} "
            f"| `{example}` |"
        )


def _default(value: object) -> str:
    if value is None or value == ():
        return "-"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _exit_codes() -> Iterator[str]:
    yield "| code | name | meaning |"
    yield "|---|---|---|"
    for code in Exit:
        yield f"| {int(code)} | {code.name.lower().replace('_', '-')} | {code.meaning} |"


def _events() -> Iterator[str]:
    yield "| event | level | facts | meaning |"
    yield "|---|---|---|---|"
    for name, (level, keys) in sorted(events_in_code().items()):
        facts = ", ".join(f"`{key}`" for key in keys) or "-"
        yield f"| `{name}` | {level} | {facts} | {EVENTS.get(name, '')} |"


def page() -> str:
    """Return the whole reference page."""
    head = (HERE / "reference.head.md").read_text()
    parts = {"settings": _settings, "exit-codes": _exit_codes, "events": _events}
    return re.sub(r"<!-- (\S+) -->", lambda match: "\n".join(parts[match[1]]()), head)


if __name__ == "__main__":
    PAGE.write_text(page())
    FAILURES.write_text("\n".join(failures_page.page()) + "\n")
    from docs import launcher_reference  # late: it imports this module

    launcher_reference.PAGE.write_text(launcher_reference.page())
    sys.stdout.write(f"wrote {PAGE}\n")
