"""One planned life, played to its end, and the judgement of what it left."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from local.faults import Rule
from tests.failures.front import HURRIED, PAT, Front, fronted, template
from tests.soak.plan import Plan, plan

if TYPE_CHECKING:
    from tests.lives.stage import Life

LONGEST = 240.0
"""Seconds after which a life counts as one that never ends; by design they take a tenth."""
UNAVOIDABLE = (
    "SIDECAR_STOP_TIMEOUT",
    "still running a job",
    "a just-in-time runner cannot remove itself",
    "its configuration was never read",
)
"""Reasons to leave something even where nothing goes wrong."""
OUTCOMES = {0, *range(11, 25), 100}
"""Exit codes that a life may end with: 10 is a mistake in the agent."""


@dataclass
class Verdict:
    """How it ended."""

    plan: Plan
    code: int | None = None
    killed: bool = False
    abandoned: bool = False
    """Killed, and never started again, or stopped before it began: a later sweep's business."""
    left: dict[str, str] = field(default_factory=dict)
    """What is still there, and why the log says it is."""
    wrong: list[str] = field(default_factory=list)
    """What a life must never do."""
    over: float = 0.0
    """Seconds that its stop took beyond the budget."""
    transcript: str = ""


async def told(moto: str, seed: str) -> Verdict:
    """Play the life of a seed."""
    verdict = Verdict(plan(seed))
    async with fronted(moto, template()) as stage:
        try:
            async with asyncio.timeout(LONGEST):
                await _played(stage, verdict)
        except TimeoutError:
            verdict.wrong.append(f"no end after {LONGEST:g} s")
        except Exception as error:  # noqa: BLE001  one life must not hide the others
            verdict.wrong.append(f"the story broke: {error!r}")
    return verdict


async def _played(stage: Front, verdict: Verdict) -> None:
    env = await _prepared(stage, verdict.plan)
    lives = [await _lived(stage, verdict, env, verdict.plan.blows)]
    if verdict.killed:
        if verdict.plan.resumed:
            lives.append(await _lived(stage, verdict, env, ()))
        else:
            verdict.abandoned = True
    await _judged(stage, verdict, lives)


# -- before ------------------------------------------------------------------------------------


async def _prepared(stage: Front, wanted: Plan) -> dict[str, str | None]:
    env: dict[str, str | None] = {
        "SIDECAR_STOP_TIMEOUT": f"{wanted.budget:g}",
        "SIDECAR_TOKEN_TIMEOUT": "4",
        "SIDECAR_IDLE_LIMIT": f"{wanted.idle_limit:g}",
        "SIDECAR_LIFETIME_LIMIT": f"{wanted.lifetime_limit:g}",
        "SIDECAR_NAME": wanted.name,
    }
    if "app" in wanted.source:
        env |= stage.app()
    if "pat" in wanted.source:
        env |= {"SIDECAR_GITHUB_PAT": PAT}
    if wanted.source.endswith("-jit"):
        env |= {"SIDECAR_JUST_IN_TIME": "true"}
    if (value := await _value(stage, wanted)) is None:
        env |= {"SIDECAR_TOKEN_PARAMETER": None}
    else:
        await stage.put(value)
    stage.misbehave(time_scale=0.1, session_conflict_seconds=2, **wanted.misbehaviour)
    for job in wanted.jobs:
        stage.job(job)
    for where, rule in wanted.faults:
        stage.proxy(where).add(Rule(**rule))
    return env


async def _value(stage: Front, wanted: Plan) -> str | None:
    """Write the parameter as one of the launchers does; None where there is none."""
    match wanted.source:
        case "token" | "token+pat":
            return stage.minted()
        case "json":
            return f'{{"token": "{stage.minted()}", "url": "{stage.scope}", "labels": ["a", "b"]}}'
        case "arguments":
            return f"--url {stage.scope} --token {stage.minted()} --labels a,b --ephemeral"
        case "jit":
            body = {"name": "jit", "runner_group_id": 1, "labels": ["self-hosted"]}
            where = f"{stage.github.api}/repos/octo/repo/actions/runners/generate-jitconfig"
            asking = {"Authorization": f"Bearer {PAT}", "Host": stage.hub.url.partition("//")[2]}
            async with stage.http.post(where, json=body, headers=asking) as answer:
                return str((await answer.json())["encoded_jit_config"])
    return None


# -- meanwhile ---------------------------------------------------------------------------------


async def _lived(
    stage: Front, verdict: Verdict, env: dict[str, str | None], blows: tuple[Any, ...]
) -> Life:
    async with stage.life(HURRIED, env=env) as life:
        striking = [asyncio.create_task(_strike(stage, life, verdict, blow)) for blow in blows]
        try:
            verdict.code = await life.ended()
        finally:
            for strike in striking:
                strike.cancel()
            await asyncio.gather(*striking, return_exceptions=True)
            verdict.transcript += life.transcript()
    if life.took is not None and verdict.code != -signal.SIGKILL:
        verdict.over = max(verdict.over, life.took - verdict.plan.budget)
    return life


async def _strike(stage: Front, life: Life, verdict: Verdict, blow: Any) -> None:
    if blow.after is None:
        await asyncio.sleep(blow.seconds)
    else:
        try:
            await life.event(blow.after)
        except AssertionError:
            return  # it ended without
        await asyncio.sleep(blow.seconds)
    if life.process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        if blow.signal == signal.SIGKILL:
            os.kill(life.pid, signal.SIGKILL)
            verdict.killed = True
            stage.sweep()  # a container takes everything with it
        else:
            life.signal(blow.signal)


# -- after -------------------------------------------------------------------------------------


async def _judged(stage: Front, verdict: Verdict, lives: list[Life]) -> None:
    if _never_began(verdict, lives[-1]):
        verdict.abandoned = True
    reasons = _reasons(lives)
    if await stage.held() is not None:
        _is_left(verdict, "token", reasons.get("token", ""))
    remaining = await _remaining(stage)
    if verdict.plan.source == "jit" and not any(life.all("token.read") for life in lives):
        gone = ("token.deleted", "token.already_deleted")
        unseen = any(life.all(event, unread=True) for life in lives for event in gone)
        reason = "its configuration was never read" if unseen else reasons.get("token", "")
        told = [reason] * len(remaining)
    else:
        told = _explained(remaining, lives)
    for reason in told:
        _is_left(verdict, "runner", reason)
    if not verdict.abandoned:
        _told_the_truth(stage, verdict, lives)


def _never_began(verdict: Verdict, life: Life) -> bool:
    """Whether a stop came before the agent could hear it: nothing was contacted then.

    An interrupt while Python itself still starts is a KeyboardInterrupt, and exit code 1.
    """
    interrupted = verdict.code == 1 and "KeyboardInterrupt" in verdict.transcript
    ended = interrupted or verdict.code in (-signal.SIGTERM, -signal.SIGINT)
    return ended and not life.events


async def _remaining(stage: Front) -> list[Any]:
    """List GitHub's runners, once it has given up the jobs that nobody runs any more."""
    for _ in range(40):
        if not any(runner.busy for runner in stage.world.runners):
            break
        await asyncio.sleep(0.1)
    return list(stage.world.runners)


def _reasons(lives: list[Life]) -> dict[str, str]:
    failed = [event for life in lives for event in life.all("cleanup.failed")]
    found = {event["undo"]: event["reason"] for event in failed}
    kept = [event for life in lives for event in life.all("token.kept")]
    return found | ({"token": kept[-1]["reason"]} if kept else {})


def _explained(runners: list[Any], lives: list[Life]) -> list[str]:
    """Say what the log tells of each runner; no word of it counts for two."""
    said = [
        str(event["reason"])
        for life in lives
        for event in life.all("cleanup.failed")
        if event["undo"] in ("runner", "predecessor")
    ]
    taken = [
        f"{event['name']} may be its own, whose registration was cut"
        for life in lives
        for event in life.all("runner.name_taken", ours=True)
    ]
    reasons = []
    for runner in sorted(runners, key=lambda each: -sum(each.name in word for word in said)):
        words = [word for word in said if runner.name in word] or [
            word for word in taken if word.split()[0] == runner.name
        ]
        reasons.append(next(iter(words or said), ""))
        if reasons[-1] in said:
            said.remove(reasons[-1])
    return reasons


def _is_left(verdict: Verdict, what: str, reason: str) -> None:
    verdict.left[what] = reason or "(the log does not say why)"
    if verdict.abandoned:
        return
    if not reason:
        verdict.wrong.append(f"the {what} is left, and the log does not say why")
    elif (
        verdict.plan.gentle
        and verdict.plan.source != "jit"
        and "SIDECAR_STOP_TIMEOUT" not in reason
        and "busy" not in reason
    ):
        verdict.wrong.append(f"the {what} is left, and nothing was in the way: {reason}")


def _told_the_truth(stage: Front, verdict: Verdict, lives: list[Life]) -> None:
    verdict.wrong += _wrong_end(verdict, lives[-1])
    if any(life.all("life.crashed") for life in lives):
        verdict.wrong.append("life.crashed")
    if stage.token and any(stage.token in life.text for life in lives):
        verdict.wrong.append("the token was logged")
    if survivors := stage.survivors():
        verdict.wrong.append(f"processes are left: {survivors}")
    if verdict.over > SLACK:
        verdict.wrong.append(f"its stop took {verdict.over:.1f} s more than the budget")


def _wrong_end(verdict: Verdict, life: Life) -> list[str]:
    wrong = [] if verdict.code in OUTCOMES else [f"exit code {verdict.code}"]
    ends = life.all("life.ended")
    if len(ends) != 1 or life.events[-1] is not ends[0]:
        wrong.append("life.ended is not the last event")
    elif ends[0]["exit_code"] != verdict.code:
        wrong.append(f"it said {ends[0]['exit_code']} and ended with {verdict.code}")
    return wrong


SLACK = float(os.environ.get("SOAK_SLACK", "15"))
"""Seconds that the interpreter's own end may take on a machine that plays many lives."""


def command(seed: str) -> str:
    """Say how to play one life again."""
    return f".venv/bin/python -m tests.soak --life {seed}"
