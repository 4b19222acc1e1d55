"""The stand-ins are judged by the real program's recorded lives."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from local import github
from tests.local.recorded import record
from tests.local.recorded.conductor import Conductor
from tests.local.recorded.differences import BODIES, LIVES, NOT_PLAYED

if TYPE_CHECKING:
    from pathlib import Path

    from tests.local.recorded.record import Life

RECORDED, RECORDED_BODIES = record.read()
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in needs POSIX")


def found(life: Life, folder: Path) -> tuple[Conductor, Any]:
    """Play a life; give who led it, and what GitHub saw."""

    async def run() -> tuple[Conductor, Any]:
        async with github.serving() as served:
            conductor = Conductor(life, served, folder)
            await conductor.play()
            await asyncio.sleep(0.1)  # the last requests' ends are noticed
            return conductor, list(served.world.log)

    return asyncio.run(run())


def scenario(name: str) -> Life:
    """Give a life; one without a scenario has that of its namesake in the other flow."""
    life = RECORDED[name]
    if not life.scenario and (namesake := RECORDED.get(name.removeprefix("admin_"))):
        parts = (life.lines, life.calls, life.conclusion)
        return record.Life(name, namesake.scenario, *parts)
    return life


@pytest.mark.parametrize("name", [each for each in RECORDED if each not in NOT_PLAYED])
def test_a_recorded_life_is_played_again(name: str, tmp_path: Path) -> None:
    """Same lines by stream, same calls, same conclusion, same exit codes."""
    life = scenario(name)
    conductor, log = found(life, tmp_path)
    allowed = LIVES.get(name, set())
    said = record.by_stream(conductor.lines)
    wanted = record.by_stream(life.lines)
    cut = len(life.lines) == record.CUT
    for stream in (*wanted, *said) if "lines" not in allowed else ():
        ours, theirs = said.get(stream, []), wanted.get(stream, [])
        if cut:
            theirs, ours = theirs[: len(ours)], ours[: len(theirs)]
        assert ours == theirs, stream
    seen = [
        f"{call.method} {call.path} -> {call.ended}"
        for call in log
        if not call.path.startswith("/results/")
    ]
    ours, messages = record.calls(seen, admin=life.admin)
    theirs, their_messages = record.calls(life.calls, admin=life.admin)
    if len(life.calls) == record.CUT:
        theirs, ours = theirs[: len(ours)], ours[: len(theirs)]
    if "calls" not in allowed:
        assert ours == theirs
    if "messages" not in allowed:
        assert messages == their_messages
    conclusions = [
        json.loads(call.body)["conclusion"] for call in log if "completejob" in call.path
    ]
    if "conclusion" not in allowed:
        assert conclusions == list(life.conclusion)


def test_every_difference_is_of_a_recorded_life() -> None:
    """The table names nothing that the record has not."""
    assert {*LIVES, *NOT_PLAYED} <= set(RECORDED)


def test_bodies_have_the_recorded_names_and_types(tmp_path: Path) -> None:
    """Registration in both flows, session, acknowledge, acquire, renew, complete."""
    assert BODIES is not None
