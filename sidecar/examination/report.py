"""Write the result of an examination: a line for each finding, or one JSON document."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sidecar import __version__
from sidecar.examination.finding import Level
from sidecar.log.lines import escape
from sidecar.log.masks import mask_known_secrets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar.examination.lines import Line

WELL, ILL = 0, 1
"""Exit codes: nothing failed, or something did."""


def choose_exit_code(lines: Sequence[Line]) -> int:
    """Return the exit code: warnings, and what is unknown, are no failure."""
    return ILL if any(line.finding.level is Level.FAILED for line in lines) else WELL


def write_text(lines: Sequence[Line]) -> str:
    """Write a line for each finding: level, check, what is so, what to change."""
    return "".join(f"{_write_line(line)}\n" for line in lines)


def _write_line(line: Line) -> str:
    finding = line.finding
    change = f". Change: {finding.change}" if finding.change else ""
    return f"{finding.level:<8}{line.check:<13}{_clean(finding.text)}{_clean(change)}"


def write_json(lines: Sequence[Line]) -> str:
    """Write one JSON document on one line."""
    document = {
        "version": __version__,
        "failed": choose_exit_code(lines) == ILL,
        "lines": [
            {
                "level": line.finding.level.value,
                "check": line.check,
                "text": _clean(line.finding.text),
                "change": _clean(line.finding.change),
            }
            for line in lines
        ],
    }
    return json.dumps(document, ensure_ascii=False) + "\n"


def _clean(text: str) -> str:
    """Mask secrets that are known, the last guard, and keep to one line."""
    return escape(str(mask_known_secrets(text)))
