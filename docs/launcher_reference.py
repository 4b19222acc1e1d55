"""Writes the launcher's reference page from its code; `make docs` calls it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from docs.__main__ import events_in_code
from docs.launcher_events import EVENTS
from launcher.errors import Exit
from launcher.settings.model import MODELS, SECRETS, option, variable

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
PAGE = HERE / "launcher-reference.md"
SOURCES = HERE.parent / "launcher"
HEAD = """# Reference of the launcher

Written by `make docs` from the code; change it there.

## Settings
Each is a variable, and an option of the commands that have it; the option wins.
An empty variable is not set. All mistakes are reported at once, one line each.
Secrets are no options: everybody may read a command line.
Region, endpoints and credentials come from AWS's own variables.
"""
EXIT_CODES = """
## Exit codes
"""
EVENTS_HEAD = """
## Events
One JSON object a line on stdout, with `event`, `level`, `timestamp` (UTC) and the keys below.
The key of every reason is `reason`. The Lambda functions write the same lines.
"""


def launcher_events() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return every event that the launcher logs, with its level and the keys of its facts."""
    return events_in_code(SOURCES)


def page() -> str:
    """Return the whole page."""
    parts = [HEAD, *_settings(), EXIT_CODES, *_exit_codes(), EVENTS_HEAD, *_events()]
    return "\n".join(parts) + "\n"


def _settings() -> Iterator[str]:
    yield "| variable | option | of | default | meaning | example |"
    yield "|---|---|---|---|---|---|"
    fields: dict[str, list[str]] = {}
    for command, model in MODELS.items():
        for field in model.model_fields:
            fields.setdefault(field, []).append(command)
    for field, commands in fields.items():
        info = MODELS[commands[0]].model_fields[field]
        flag = "-" if field in SECRETS else f"`{option(field)}`"
        of, default = ", ".join(commands), _defaults(field, commands)
        yield (
            f"| `{variable(field)}` | {flag} | {of} | {default} "
            f"| {info.description} | `{(info.examples or [''])[0]}` |"
        )


def _defaults(field: str, commands: list[str]) -> str:
    """Say what holds without the setting; one may be required by some of its commands only."""
    infos = {command: MODELS[command].model_fields[field] for command in commands}
    need = [command for command, info in infos.items() if info.is_required()]
    defaults = [_default(info.default) for info in infos.values() if not info.is_required()]
    if need and defaults:
        return f"required by {', '.join(need)}; else {defaults[0]}"
    return defaults[0] if defaults else "required"


def _default(value: Any) -> str:
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
    for name, (level, keys) in sorted(launcher_events().items()):
        facts = ", ".join(f"`{key}`" for key in keys) or "-"
        yield f"| `{name}` | {level} | {facts} | {EVENTS.get(name, '')} |"
