"""Write the page of `runner-sidecar doctor`: its head, its checks, and the wrong set-ups."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from docs.setups import WRONG
from sidecar.doctor.all_checks import CHECKS

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
PAGE = HERE / "doctor.md"


def _list_checks() -> Iterator[str]:
    yield "| check | what it looks at |"
    yield "|---|---|"
    for name, check in CHECKS.items():
        (about, *_) = (inspect.getdoc(sys.modules[check.__module__]) or "").splitlines()
        what = about.removeprefix("Check ").rstrip(".")
        yield f"| `{name}` | {what} |"


def _list_setups() -> Iterator[str]:
    yield "| what is wrong | level | check | what its line says |"
    yield "|---|---|---|---|"
    for wrong in WRONG.values():
        yield f"| {wrong.title} | {wrong.level} | `{wrong.check}` | … {wrong.words} … |"


def page() -> str:
    """Return the whole page."""
    head = (HERE / "doctor.head.md").read_text()
    parts = {"checks": _list_checks(), "setups": _list_setups()}
    return re.sub(r"<!-- (\S+) -->", lambda match: "\n".join(parts[match[1]]), head)
