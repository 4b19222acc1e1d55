"""Writes the pages that come from code: `make docs`. A test holds that they are up to date."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from docs import doctor_page, failures_page, launcher_reference, roles_reference, tables
from docs.events import EVENTS
from sidecar.errors import Exit
from sidecar.settings.model import Settings, option, variable

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
PAGE = HERE / "reference.md"
FAILURES = HERE / "failures.md"
SOURCES = HERE.parent / "sidecar"


def _settings() -> Iterator[str]:
    yield "| variable | option | default | meaning | example |"
    yield "|---|---|---|---|---|"
    for field, info in Settings.model_fields.items():
        default = "required" if info.is_required() else tables.show_default(info.default)
        example = (info.examples or [""])[0]
        yield (
            f"| `{variable(field)}` | `{option(field)}` | {default} | {info.description} "
            f"| `{example}` |"
        )


def page() -> str:
    """Return the whole reference page."""
    head = (HERE / "reference.head.md").read_text()
    parts = {
        "settings": _settings(),
        "exit-codes": tables.list_exit_codes(Exit),
        "events": tables.list_events(tables.events_in_code(SOURCES), EVENTS),
    }
    return re.sub(r"<!-- (\S+) -->", lambda match: "\n".join(parts[match[1]]), head)


if __name__ == "__main__":
    PAGE.write_text(page())
    FAILURES.write_text("\n".join(failures_page.page()) + "\n")
    launcher_reference.PAGE.write_text(launcher_reference.page())
    roles_reference.PAGE.write_text(roles_reference.page())
    pages = doctor_page.pages()
    for path, text in pages.items():
        path.write_text(text)
    for written in (PAGE, FAILURES, launcher_reference.PAGE, roles_reference.PAGE, *pages):
        sys.stdout.write(f"wrote {written}\n")
