"""The stand-ins are judged by the real program's recorded lives."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from typing import TYPE_CHECKING, Any

import pytest

from local import github
from tests.local.recorded import record
from tests.local.recorded.conductor import Conductor
from tests.local.recorded.differences import BODIES, LIVES, NOT_PLAYED

if TYPE_CHECKING:
    from pathlib import Path

    from local.github.world import Call
    from tests.local.recorded.record import Life

RECORDED, RECORDED_BODIES = record.read()
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in needs POSIX")


def found(life: Life, folder: Path) -> tuple[Conductor, list[Call]]:
    """Play a life; give who led it, and what GitHub saw."""

    async def run() -> tuple[Conductor, list[Call]]:
        async with github.serving() as served:
            conductor = Conductor(life, served, folder)
            await conductor.play()
            sessions = served.world.sessions
            await served.world.changes.until(
                lambda: not any(each.polls for each in sessions.values()) or None, 5
            )
            log = [call for call in served.world.log if not call.path.startswith("/results/")]
            return conductor, log

    return asyncio.run(run())


NAMESAKES = {"nonroot": "success", "nonroot_idle": "idle60"}


def scenario(name: str) -> Life:
    """Give a life; one without a scenario has that of its namesake, in the other flow or not."""
    life = RECORDED[name]
    namesake = RECORDED.get(NAMESAKES.get(name, name.removeprefix("admin_")))
    if life.scenario or namesake is None:
        return life
    return record.Life(name, namesake.scenario, life.lines, life.calls, life.conclusion)


@pytest.mark.parametrize("name", [each for each in RECORDED if each not in NOT_PLAYED])
def test_a_recorded_life_is_played_again(name: str, tmp_path: Path) -> None:
    """Same lines by stream, same calls, same conclusion, same exit codes."""
    life = scenario(name)
    conductor, log = found(life, tmp_path)
    allowed = LIVES[name].parts if name in LIVES else ()
    if "lines" not in allowed:
        same_lines(life, conductor.lines)
    ours, messages = record.calls([told(call) for call in log], admin=life.admin)
    theirs, their_messages = record.calls(life.calls, admin=life.admin)
    if "calls" not in allowed:
        compare(ours, theirs, cut=len(life.calls) == record.CUT)
    if "messages" not in allowed:
        compare(messages, their_messages, cut=len(life.calls) == record.CUT)
    if "conclusion" not in allowed:
        assert conclusions(log) == list(dict.fromkeys(life.conclusion))


def same_lines(life: Life, lines: list[str]) -> None:
    """Compare what was printed, stream by stream, and the listener's exit code."""
    said, wanted = record.by_stream(lines), record.by_stream(life.lines)
    if "run ends" not in wanted:
        said.pop("run ends", None)
    for stream in {*wanted, *said}:
        cut = len(life.lines) == record.CUT
        compare(said.get(stream, []), wanted.get(stream, []), cut=cut)


def compare(ours: list[str], theirs: list[str], *, cut: bool) -> None:
    """Compare two lists; of one that was cut off, what there is of it."""
    if cut:
        theirs, ours = theirs[: len(ours)], ours[: len(theirs)]
    assert ours == theirs


def told(call: Call) -> str:
    """Write a call as the record has it: where the answer was lost, it has that answer."""
    lost = call.ended == "closed" and "/message" not in call.path
    return f"{call.method} {call.path} -> {200 if lost else call.ended}"


def conclusions(log: list[Call]) -> list[str]:
    """List what the runner said that its job came to; repeats once."""
    found = [json.loads(call.body)["conclusion"] for call in log if "completejob" in call.path]
    return list(dict.fromkeys(found))


def test_every_difference_is_of_a_recorded_life() -> None:
    """The table names nothing that the record has not."""
    assert {*LIVES, *NOT_PLAYED} <= set(RECORDED)


SHOWN_IN = ("success", "admin_success", "trouble_add_lost")


def test_bodies_have_the_recorded_names_and_types(tmp_path: Path) -> None:
    """Exchange, registration in both flows, session, acknowledge, acquire, renew, complete."""
    seen: dict[str, Any] = {}
    for name in SHOWN_IN:
        (tmp_path / name).mkdir()
        _, log = found(scenario(name), tmp_path / name)
        for call in log:
            path = call.path.partition("?")[0]
            for key in RECORDED_BODIES:
                method, _, end = key.partition(" ")
                if call.method == method and re.sub(r"/\d+$", "", path).endswith(end):
                    seen.setdefault(key, json.loads(call.body))
    for key, text in RECORDED_BODIES.items():
        if key not in BODIES:
            same_shape(record.mended(text), seen[key], key)


def same_shape(theirs: Any, ours: Any, where: str) -> None:
    """Compare names and types, as deep as the record goes; it may have been cut off."""
    assert record.kind(ours) == record.kind(theirs), where
    if isinstance(theirs, dict):
        assert set(theirs) <= set(ours), where
        for name, each in theirs.items():
            same_shape(each, ours[name], f"{where} {name}")
    if isinstance(theirs, list) and theirs:
        same_shape(theirs[0], ours[0], f"{where} []")
