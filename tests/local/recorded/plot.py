"""What happened in a recorded life, played again.

A scenario is the text of a function, written for the agent: `listening(life)`, `started(life,
steps)`, `job(steps)`, `call("/control/…")`, `life.until(event)`, `life.term()`. Here these names do
the same to the stand-ins. What the agent itself did, the recorded lines tell (see `conductor`).
"""

from __future__ import annotations

import ast
import asyncio
import os
import re
import signal
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.local.recorded.conductor import Conductor
    from tests.local.recorded.record import Life

SCALE = 0.1
"""Every recorded second takes so many here."""
_LINES = {
    "runner.started": "",
    "runner.registered": "Settings Saved.",
    "job.announced": "Running job:",
    "runner.connection": "Runner connect error",
    "runner.said": "",
    "runner.line": "",
}
_FUNCTION = re.compile(r"(?:async )?def (\w+)\(life\):\s*")


def settings(life: Life) -> dict[str, Any]:
    """Read the arguments of the scenario's decorator; what is no literal is left out."""
    head = next((each for each in life.scenario if each.startswith("@")), "")
    if not head:
        return {}
    call = ast.parse(head[1:], mode="eval").body
    assert isinstance(call, ast.Call)
    found = {}
    for each in call.keywords:
        try:
            found[str(each.arg)] = _literal(each.value)
        except ValueError:
            found[str(each.arg)] = ast.unparse(each.value)
    return found


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return {ast.literal_eval(key): _text(value) for key, value in pairs if key}
    return ast.literal_eval(node)


def _text(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)


class Plot:
    """A scenario under way."""

    def __init__(self, life: Life, conductor: Conductor) -> None:
        self._conductor = conductor
        self._source = "\n".join(life.scenario)
        self.ready = asyncio.Event()
        """Set once the agent was told to stop, or nothing but its end is waited for."""

    async def run(self) -> None:
        """Play it."""
        text = self._source[self._source.find("async def ") :]
        if not text:
            self.ready.set()
            return
        name = _FUNCTION.match(text)
        assert name, text
        known: dict[str, Any] = {
            "asyncio": types.SimpleNamespace(sleep=self._sleep),
            "signal": signal,
            "listening": self._listening,
            "started": self._started,
            "job": self._job,
            "call": self._call,
            "kill": self._kill,
            "state": self._state,
            "print": lambda *_: None,
            "Path": Path,
            "GH": self._conductor.github.url,
        }
        exec(compile(text, "scenario", "exec"), known)  # noqa: S102  our own record
        try:
            await known[name[1]](self)
        finally:
            self.ready.set()

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds * SCALE)

    # What a scenario says of the agent's life

    async def until(self, event: str, _timeout: float = 0, **facts: Any) -> None:
        """Wait for what the agent would have logged."""
        if event == "life.ended":
            self.ready.set()
            await self._conductor.ended.wait()
            return
        await self._conductor.printed(str(facts.get("line") or _LINES[event]))

    def term(self, _number: int = signal.SIGTERM) -> None:
        """Note that the agent was told to stop."""
        self.ready.set()

    def mark(self, _text: str) -> None:
        """Do nothing: it is a note."""

    @property
    def proc(self) -> Any:
        """Give the agent's process: its end is the listener's, and in the lines."""
        return types.SimpleNamespace(kill=self.ready.set, returncode=None)

    # What it does

    async def _listening(self, _life: object) -> None:
        await self._conductor.printed("Listening for Jobs")
        sessions = self._conductor.github.world.sessions
        await self._conductor.world(lambda: any(each.polls for each in sessions.values()))

    async def _started(self, life: object, steps: list[str], **more: Any) -> None:
        await self._listening(life)
        job = self._job(steps, **more)
        await self._conductor.world(lambda: job.steps[0].state == "running")
        await self._conductor.world(lambda: "shell: " in job.steps[0].log)
        await self._sleep(3)  # so that a step's traps are set, on a slow machine as well

    def _job(self, steps: list[str], name: str = "build", **more: Any) -> Any:
        conditions = more.get("conditions") or [""] * len(steps)
        wanted = [
            {"run": _scaled(run), "if": condition}
            for run, condition in zip(steps, conditions, strict=True)
        ]
        world = self._conductor.github.world
        return world.jobs.add({"name": name, "steps": wanted}, world.now())

    def _call(self, path: str, body: dict[str, Any]) -> None:
        world = self._conductor.github.world
        orders: dict[str, Callable[[], object]] = {
            "trouble": lambda: world.faults.add(_fault(body)),
            "message": lambda: self._message(body),
            "gone": self._gone,
            "cancel": lambda: [world.cancel(job) for job in world.jobs],
            "set": lambda: self._set(body),
        }
        orders[path.rpartition("/")[2]]()

    def _message(self, body: dict[str, Any]) -> None:
        world = self._conductor.github.world
        for runner in world.runners:
            world.send(runner, body["type"], body["body"])

    def _gone(self) -> None:
        world = self._conductor.github.world
        for runner in world.runners:
            world.runners.remove(runner, "test", force=True)

    def _set(self, body: dict[str, Any]) -> None:
        self._conductor.tune(body)
        self._conductor.github.world.changes.ring()

    async def _kill(self, _life: object, program: str) -> None:
        for pid in self._conductor.processes(program):
            os.kill(pid, signal.SIGKILL)

    def _state(self) -> dict[str, Any]:
        world = self._conductor.github.world
        runners = {
            str(each.id): {"labels": [{"name": label.name} for label in each.labels]}
            for each in world.runners
        }
        return {"runners": runners}


def _scaled(script: str) -> str:
    def shorter(found: re.Match[str]) -> str:
        return f"sleep {float(found[1]) * SCALE:g}"

    return re.sub(r"sleep (\d+)", shorter, script)


def _fault(body: dict[str, Any]) -> dict[str, Any]:
    """Turn the order for trouble into a fault."""
    fault: dict[str, Any] = {"call": f"{body.get('method', '*')} *{body['path']}*"}
    seconds = body.get("seconds", 0)
    fault["count"] = body.get("count", -1)
    if seconds:
        fault["seconds"] = seconds * SCALE
    fault["delay"] = body.get("delay", 0)  # a process starts in no scaled time
    if body.get("status") == 0:
        fault["drop"] = True
    elif "status" in body:
        fault["status"] = body["status"]
        fault["body"] = body.get("body", "")
    fault["after"] = bool(body.get("after"))
    return fault
