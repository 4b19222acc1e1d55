"""Write the pages of both doctors: head, checks and wrong set-ups of each; and that of causes."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docs import launcher_setups, setups
from docs.causes import CAUSES
from launcher.doctor import all_checks as launcher_checks
from sidecar.doctor import all_checks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from docs.setups import WrongSetup

HERE = Path(__file__).parent


def _list_checks(checks: Mapping[str, Any]) -> Iterator[str]:
    yield "| check | what it looks at |"
    yield "|---|---|"
    for name, check in checks.items():
        (about, *_) = (inspect.getdoc(sys.modules[check.__module__]) or "").splitlines()
        what = about.removeprefix("Check ").rstrip(".")
        yield f"| `{name}` | {what} |"


def _list_setups(wrong: Mapping[str, WrongSetup]) -> Iterator[str]:
    yield "| what is wrong | level | check | what its line says |"
    yield "|---|---|---|---|"
    for each in wrong.values():
        yield f"| {each.title} | {each.level} | `{each.check}` | … {each.words} … |"


def _list_causes() -> Iterator[str]:
    yield "| what is broken | `runner-sidecar doctor` | `runner-launcher doctor` | `explain` |"
    yield "|---|---|---|---|"
    for cause in CAUSES:
        agent = _show(setups.WRONG.get(cause.agent))
        launcher = _show(launcher_setups.WRONG.get(cause.launcher))
        source, _, words = cause.explain.partition(": ")
        told = f"`{source}`: … {words} …" if words else cause.unknown
        yield f"| {cause.title} | {agent} | {launcher} | {told} |"


def _show(wrong: WrongSetup | None) -> str:
    return "-" if wrong is None else f"`{wrong.check}`: … {wrong.words} …"


def pages() -> dict[Path, str]:
    """Return the whole of each page, by its file."""
    parts = {
        "checks": _list_checks(all_checks.CHECKS),
        "setups": _list_setups(setups.WRONG),
        "launcher-checks": _list_checks(launcher_checks.CHECKS),
        "launcher-setups": _list_setups(launcher_setups.WRONG),
        "causes": _list_causes(),
    }
    written = {name: "\n".join(lines) for name, lines in parts.items()}
    return {
        HERE / f"{name}.md": re.sub(
            r"<!-- (\S+) -->",
            lambda match: written[match[1]],
            (HERE / f"{name}.head.md").read_text(encoding="utf-8"),
        )
        for name in ("doctor", "launcher-doctor", "causes")
    }
