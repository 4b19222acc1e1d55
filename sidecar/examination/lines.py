"""Run checks side by side, each within its deadline, and put their findings into lines."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from sidecar.errors import SettingsError
from sidecar.examination.finding import Finding, failed

if TYPE_CHECKING:
    from collections.abc import Mapping

S = TypeVar("S")

Check = Callable[[S], Awaitable[list[Finding]]]
"""Looks at one thing of a set-up, and says what it has found."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the result."""

    check: str
    finding: Finding


async def run_checks(
    setup: S,
    checks: Mapping[str, Check[S]],
    seconds: float,
    longer: Mapping[str, float] | None = None,
) -> list[Line]:
    """Run the checks side by side; return their lines, in the order of the checks.

    Each may take so many seconds, or, as the factor in `longer` says, more.
    """
    factors = longer or {}
    results = await asyncio.gather(
        *(_run(check, setup, seconds * factors.get(name, 1.0)) for name, check in checks.items())
    )
    return [
        Line(name, finding)
        for name, findings in zip(checks, results, strict=True)
        for finding in findings
    ]


async def _run(check: Check[S], setup: S, seconds: float) -> list[Finding]:
    try:
        async with asyncio.timeout(seconds) as deadline:
            return await check(setup)
    except SettingsError as error:
        return [failed(str(error), "set what the line names; see also the lines before this one")]
    except Exception as error:  # noqa: BLE001  no check may keep the others from being shown
        if deadline.expired():
            return [failed(f"no result within {seconds:g} s", "see the lines before this one")]
        text = f"a mistake in this check: {type(error).__name__}"
        return [failed(text, "report it; no setting is at fault")]
