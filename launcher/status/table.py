"""Show a snapshot: as one plain table, or as JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from launcher.explain.entries import clean, seconds
from launcher.status.snapshot import STAGES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from launcher.status.snapshot import LastLaunch, PoolStatus, Snapshot

HEAD = ("pool", *STAGES, "failing", "places", "oldest job", "state")
LAST_HEAD = ("written", "pool", "stage", "job", "task or machine", "try", "last mishap")
SHORT = 60
"""Characters of a mishap."""


def show_text(shot: Snapshot) -> str:
    """Return the snapshot as tables."""
    return "\n".join(_list_lines(shot)) + "\n"


def _list_lines(shot: Snapshot) -> Iterator[str]:
    yield f"{_clock(shot.now)} UTC"
    yield ""
    yield from _align([HEAD, *(_row(pool, shot.now) for pool in shot.pools)])
    if not shot.pools:
        yield "no pool, and no launch that is not over"
    yield ""
    yield from _list_limits(shot)
    if shot.last:
        yield ""
        yield from _align([LAST_HEAD, *(_last_row(each) for each in shot.last)])
    if shot.unseen:
        yield ""
        yield "what could not be seen:"
        for reason in shot.unseen:
            yield f"  {clean(reason)}"


def _list_limits(shot: Snapshot) -> Iterator[str]:
    if shot.messages is not None:
        counts = ", ".join(f"{number} {name}" for name, number in shot.messages.items())
        yield f"queue: {counts}"
    if shot.oldest is not None:
        yield f"oldest job without a task: first seen {seconds(shot.now - shot.oldest)} ago"
    if shot.account is not None:
        taken, most = shot.account
        yield f"all pools together: {taken} of {most} places"
    if shot.github is not None:
        left, soon = shot.github
        yield f"GitHub's limit: {left:.0%} of the hour's calls are left; all again in {soon} s"


def _row(pool: PoolStatus, now: float) -> tuple[str, ...]:
    places = f"{pool.taken}/{pool.maximum if pool.maximum is not None else '?'}"
    oldest = seconds(now - pool.oldest) if pool.oldest is not None else "-"
    return (
        clean(pool.name, 40),
        *(str(pool.counts.get(stage, 0)) for stage in STAGES),
        str(pool.failing),
        places,
        oldest,
        describe_state(pool, now),
    )


def describe_state(pool: PoolStatus, now: float) -> str:
    """Say whether a pool starts anything."""
    if pool.is_stopped(now):
        left = seconds(pool.stopped_until - now)
        return f"STOPPED for {left}: its last {pool.faults} tasks failed"
    if pool.maximum is not None and pool.taken >= pool.maximum:
        return "FULL: its maximum is reached"
    return f"its last {pool.faults} tasks failed" if pool.faults else "ok"


def _last_row(each: LastLaunch) -> tuple[str, ...]:
    return (
        _clock(each.at),
        clean(each.pool, 40) or "-",
        each.stage,
        str(each.job or "-"),
        clean(each.place, 40) or "-",
        str(each.tries),
        clean(each.reason, SHORT) or "-",
    )


def _clock(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}" if at else "-"


def _align(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        yield "  ".join(cells).rstrip()


def show_json(shot: Snapshot) -> str:
    """Return the snapshot as one line of JSON."""
    return json.dumps(to_dict(shot), ensure_ascii=False) + "\n"


def to_dict(shot: Snapshot) -> dict[str, Any]:
    """Return the snapshot as plain values; times are seconds since 1970."""
    return {
        "at": round(shot.now, 3),
        "pools": [
            {
                "pool": clean(pool.name, 100),
                **{stage: pool.counts.get(stage, 0) for stage in STAGES},
                "failing": pool.failing,
                "faults": pool.faults,
                "stopped_until": pool.stopped_until if pool.is_stopped(shot.now) else None,
                "places": pool.taken,
                "maximum": pool.maximum,
                "oldest": pool.oldest,
            }
            for pool in shot.pools
        ],
        "queue": dict(shot.messages) if shot.messages is not None else None,
        "oldest": shot.oldest,
        "account": list(shot.account) if shot.account is not None else None,
        "github_left": shot.github[0] if shot.github is not None else None,
        "last": [
            {
                "at": each.at,
                "pool": clean(each.pool, 100),
                "stage": each.stage,
                "job": each.job or None,
                "repository": clean(each.repository, 200),
                "place": clean(each.place, 100),
                "try": each.tries,
                "reason": clean(each.reason),
            }
            for each in shot.last
        ],
        "unseen": [clean(reason) for reason in shot.unseen],
    }
