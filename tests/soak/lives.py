"""Run many lives side by side, and report what became of them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING

from tests.soak.life import Verdict, command, run_life

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


async def run_lives(
    moto: str, seeds: Sequence[str], beside: int, print_mistakes: Callable[[Verdict], None]
) -> list[Verdict]:
    """Run the lives of `seeds`, `beside` of them at the same time."""
    gate = asyncio.Semaphore(beside)

    async def one(seed: str) -> Verdict:
        async with gate:
            verdict = await run_life(moto, seed)
        print_mistakes(verdict)
        return verdict

    return await asyncio.gather(*(one(seed) for seed in seeds))


def report(verdicts: Sequence[Verdict], begun: float) -> str:
    """Return a text that says what became of all lives."""
    codes = Counter(verdict.code for verdict in verdicts if not verdict.abandoned)
    left = Counter(
        f"{what}: {_kind(reason)}"
        for verdict in verdicts
        if not verdict.abandoned
        for what, reason in verdict.left.items()
    )
    abandoned = [verdict for verdict in verdicts if verdict.abandoned]
    lines = [
        f"{len(verdicts)} lives in {time.monotonic() - begun:.0f} s",
        f"  killed and started again  {sum(v.killed and not v.abandoned for v in verdicts)}",
        f"  killed, never resumed     {len(abandoned)}",
        f"    with something left     {sum(bool(v.left) for v in abandoned)} (a later sweep's)",
        f"  worst stop over budget    {max((v.over for v in verdicts), default=0):.2f} s",
        "  ended with                "
        + ", ".join(f"{code}: {count}" for code, count in sorted(codes.items(), key=str)),
        f"  left, and why             {sum(left.values())}",
        *(f"    {count:4} {what}" for what, count in left.most_common()),
        f"  wrong                     {sum(bool(v.wrong) for v in verdicts)}",
    ]
    for verdict in verdicts:
        lines += [f"    {what}\n      {command(verdict.plan.seed)}" for what in verdict.wrong]
    return "\n".join(lines)


def _kind(reason: str) -> str:
    """Return the kind of a reason: what it has in common with others."""
    for words, kind in (
        ("SIDECAR_STOP_TIMEOUT", "the stop budget is used up"),
        ("third signal", "a third signal came"),
        ("still running a job", "it is still running a job"),
        ("neither a registration token", "killed, and the token is gone"),
        ("needs ssm:", "access denied"),
        ("was never read", "just in time, and its configuration was never read"),
        ("registration was cut", "configure was cut, and the name may be another's"),
        ("cannot tell whether", "configure was cut, and the name may be another's"),
        ("may be another's", "its number is unknown, and its name may be another's"),
        ("cannot remove itself", "just in time, and GitHub's API is not open"),
    ):
        if words in reason:
            return kind
    return reason[:110]
