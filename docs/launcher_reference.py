"""Make the launcher's reference page from its code, for `make docs`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from docs import tables
from docs.launcher_events import EVENTS
from launcher.errors import Exit
from launcher.settings import MODELS, SECRETS, option, variable

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
One pair of quotation marks around a value is left out and said (`settings.ignored`).
A list is separated by commas, or a list in JSON.
Secrets are no options: everybody may read a command line.
Behind the name or ARN of a secret in Secrets Manager may stand `:key:stage:version`, as ECS reads
it; a secret that is JSON is the value of that key, or of its only key. An ARN is asked in its
region.
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


def page() -> str:
    """Return the whole page."""
    codes = tables.list_exit_codes(Exit)
    events = tables.list_events(tables.events_in_code(SOURCES), EVENTS)
    return "\n".join([HEAD, *_settings(), EXIT_CODES, *codes, EVENTS_HEAD, *events]) + "\n"


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
    """Say what holds without the setting; commands may differ in that."""
    holds: dict[str, list[str]] = {}
    for command in commands:
        info = MODELS[command].model_fields[field]
        what = "required" if info.is_required() else tables.show_default(info.default)
        holds.setdefault(what, []).append(command)
    *special, (common, _) = holds.items()
    words = {"required": "required by", "-": "none with"}
    shown = [f"{words.get(what, f'{what} with')} {', '.join(of)}; else" for what, of in special]
    return " ".join([*shown, common])
