"""Run one planned life to its end, and check what is left of it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from local.agent import EndedError
from local.faults import Rule
from tests.failures.stage import HURRIED, PAT, FailingStage, open_stage
from tests.soak.plan import Plan, PlannedSignal, plan

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
"""Reasons for which something is left even where nothing goes wrong."""
OUTCOMES = {0, *range(11, 25), 100}
"""Exit codes that a life may end with: 10 is a mistake in the agent."""


@dataclass
class Verdict:
    """How a life ended."""

    plan: Plan
    code: int | None = None
    killed: bool = False
    abandoned: bool = False
    """Killed and never started again, or stopped before it began: it cannot clean up itself."""
    left: dict[str, str] = field(default_factory=dict)
    """What is still there, and why the log says it is."""
    wrong: list[str] = field(default_factory=list)
    """What a life must never do."""
    over: float = 0.0
    """Seconds that its stop took beyond the budget."""
    transcript: str = ""


async def run_life(moto: str, seed: str) -> Verdict:
    """Run the life of a seed."""
    verdict = Verdict(plan(seed))
    async with open_stage(moto) as stage:
        try:
            async with asyncio.timeout(LONGEST):
                await _run(stage, verdict)
        except TimeoutError:
            verdict.wrong.append(f"no end after {LONGEST:g} s")
        except Exception as error:  # noqa: BLE001  one life must not hide the others
            verdict.wrong.append(f"the test itself failed: {error!r}")
    return verdict


async def _run(stage: FailingStage, verdict: Verdict) -> None:
    env = await _prepare(stage, verdict.plan)
    lives = [await _run_agent(stage, verdict, env, verdict.plan.signals)]
    if verdict.killed:
        if verdict.plan.resumed:
            lives.append(await _run_agent(stage, verdict, env, ()))
        else:
            verdict.abandoned = True
    await _judge(stage, verdict, lives)


# -- before ------------------------------------------------------------------------------------


async def _prepare(stage: FailingStage, wanted: Plan) -> dict[str, str | None]:
    env: dict[str, str | None] = {
        "SIDECAR_STOP_TIMEOUT": f"{wanted.budget:g}",
        "SIDECAR_TOKEN_TIMEOUT": "4",
        "SIDECAR_IDLE_LIMIT": f"{wanted.idle_limit:g}",
        "SIDECAR_LIFETIME_LIMIT": f"{wanted.lifetime_limit:g}",
        "SIDECAR_NAME": wanted.name,
    }
    if "app" in wanted.source:
        env |= stage.install_app()
    if "pat" in wanted.source:
        env |= {"SIDECAR_GITHUB_PAT": PAT}
    if wanted.source.endswith("-jit"):
        env |= {"SIDECAR_JUST_IN_TIME": "true"}
    if (value := await _make_value(stage, wanted)) is None:
        env |= {"SIDECAR_TOKEN_PARAMETER": None}
    else:
        await stage.put(value)
    stage.misbehave(time_scale=0.1, session_conflict_seconds=2, **wanted.misbehaviour)
    for job in wanted.jobs:
        stage.job(job)
    for where, rule in wanted.faults:
        stage.proxy(where).add(Rule(**rule))
    return env


async def _make_value(stage: FailingStage, wanted: Plan) -> str | None:
    """Return the parameter's value, as one of the launchers writes it; None for no parameter."""
    match wanted.source:
        case "token" | "token+pat":
            return stage.mint_token()
        case "json":
            token = stage.mint_token()
            return json.dumps({"token": token, "url": stage.github_url, "labels": ["a", "b"]})
        case "arguments":
            return f"--url {stage.github_url} --token {stage.mint_token()} --labels a,b --ephemeral"
        case "jit":
            body = {"name": "jit", "runner_group_id": 1, "labels": ["self-hosted"]}
            where = f"{stage.github.api}/repos/octo/repo/actions/runners/generate-jitconfig"
            asking = {"Authorization": f"Bearer {PAT}", "Host": stage.hub.url.partition("//")[2]}
            async with stage.http.post(where, json=body, headers=asking) as answer:
                return str((await answer.json())["encoded_jit_config"])
    return None


# -- meanwhile ---------------------------------------------------------------------------------


async def _run_agent(
    stage: FailingStage,
    verdict: Verdict,
    env: dict[str, str | None],
    signals: tuple[PlannedSignal, ...],
) -> Life:
    async with stage.life(HURRIED, env=env) as life:
        sending = [
            asyncio.create_task(_send_signal(stage, life, verdict, planned)) for planned in signals
        ]
        try:
            verdict.code = await life.wait_for_end()
        finally:
            for task in sending:
                task.cancel()
            await asyncio.gather(*sending, return_exceptions=True)
            verdict.transcript += life.transcript()
    if life.stop_seconds is not None and verdict.code != -signal.SIGKILL:
        verdict.over = max(verdict.over, life.stop_seconds - verdict.plan.budget)
    return life


async def _send_signal(
    stage: FailingStage, life: Life, verdict: Verdict, planned: PlannedSignal
) -> None:
    if planned.after is None:
        await asyncio.sleep(planned.seconds)
    else:
        try:
            await life.wait_for_event(planned.after)
        except EndedError:
            return
        await asyncio.sleep(planned.seconds)
    if life.process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        if planned.number == signal.SIGKILL:
            os.kill(life.pid, signal.SIGKILL)
            verdict.killed = True
            stage.kill_processes()  # the end of a container kills all of its processes
        else:
            life.signal(planned.number)


# -- after -------------------------------------------------------------------------------------


async def _judge(stage: FailingStage, verdict: Verdict, lives: list[Life]) -> None:
    if _never_began(verdict, lives[-1]):
        verdict.abandoned = True
    reasons = _find_reasons(lives)
    if await stage.read_parameter() is not None:
        _note_left(verdict, "token", reasons.get("token", ""))
    remaining = await _list_remaining_runners(stage)
    if verdict.plan.source == "jit" and not any(life.find_events("token.read") for life in lives):
        gone = ("token.deleted", "token.already_deleted")
        unseen = any(life.find_events(event, unread=True) for life in lives for event in gone)
        reason = "its configuration was never read" if unseen else reasons.get("token", "")
        reasons_of_runners = [reason] * len(remaining)
    else:
        reasons_of_runners = _match_reasons(remaining, lives)
    for reason in reasons_of_runners:
        _note_left(verdict, "runner", reason)
    if not verdict.abandoned:
        _check_log(stage, verdict, lives)


def _never_began(verdict: Verdict, life: Life) -> bool:
    """Return whether a stop came before the agent could handle it: then nothing was contacted.

    An interrupt while Python itself still starts is a KeyboardInterrupt, and exit code 1.
    """
    interrupted = verdict.code == 1 and "KeyboardInterrupt" in verdict.transcript
    ended = interrupted or verdict.code in (-signal.SIGTERM, -signal.SIGINT)
    return ended and not life.events


async def _list_remaining_runners(stage: FailingStage) -> list[Any]:
    """Return GitHub's runners, once it has ended the jobs that nobody runs any more."""
    for _ in range(40):
        if not any(runner.busy for runner in stage.world.runners):
            break
        await asyncio.sleep(0.1)
    return list(stage.world.runners)


def _find_reasons(lives: list[Life]) -> dict[str, str]:
    failed = [event for life in lives for event in life.find_events("cleanup.failed")]
    found = {event["undo"]: event["reason"] for event in failed}
    kept = [event for life in lives for event in life.find_events("token.kept")]
    return found | ({"token": kept[-1]["reason"]} if kept else {})


def _match_reasons(runners: list[Any], lives: list[Life]) -> list[str]:
    """Return the logged reason for each runner that is left; no reason counts for two."""
    failed = [
        str(event["reason"])
        for life in lives
        for event in life.find_events("cleanup.failed")
        if event["undo"] in ("runner", "predecessor")
    ]
    taken = [
        f"{event['name']} may be its own, whose registration was cut"
        for life in lives
        for event in life.find_events("runner.name_taken", ours=True)
    ]
    reasons = []
    for runner in sorted(runners, key=lambda each: -sum(each.name in reason for reason in failed)):
        own = [reason for reason in failed if runner.name in reason] or [
            reason for reason in taken if reason.split()[0] == runner.name
        ]
        reasons.append(next(iter(own or failed), ""))
        if reasons[-1] in failed:
            failed.remove(reasons[-1])
    return reasons


def _note_left(verdict: Verdict, what: str, reason: str) -> None:
    verdict.left[what] = reason or "(the log does not say why)"
    if verdict.abandoned:
        return
    if not reason:
        verdict.wrong.append(f"the {what} is left, and the log does not say why")
    elif (
        verdict.plan.gentle
        and verdict.plan.source != "jit"
        and "SIDECAR_STOP_TIMEOUT" not in reason
        and "third signal" not in reason
        and "still running a job" not in reason  # of one that was killed in its job
    ):
        verdict.wrong.append(f"the {what} is left, and nothing prevented its removal: {reason}")


def _check_log(stage: FailingStage, verdict: Verdict, lives: list[Life]) -> None:
    verdict.wrong += _check_exit(verdict, lives[-1])
    if any(life.find_events("life.crashed") for life in lives):
        verdict.wrong.append("life.crashed")
    if stage.token and any(stage.token in life.text for life in lives):
        verdict.wrong.append("the token was logged")
    if processes := stage.find_processes():
        verdict.wrong.append(f"processes are left: {processes}")
    if verdict.over > SLACK:
        verdict.wrong.append(f"its stop took {verdict.over:.1f} s more than the budget")


def _check_exit(verdict: Verdict, life: Life) -> list[str]:
    wrong = [] if verdict.code in OUTCOMES else [f"exit code {verdict.code}"]
    ends = life.find_events("life.ended")
    if len(ends) != 1 or life.events[-1] is not ends[0]:
        wrong.append("life.ended is not the last event")
    elif ends[0]["exit_code"] != verdict.code:
        wrong.append(f"it logged {ends[0]['exit_code']} and ended with {verdict.code}")
    return wrong


SLACK = float(os.environ.get("SOAK_SLACK", "15"))
"""Seconds that the interpreter's own end may take while many lives run."""


def command(seed: str) -> str:
    """Return the command that runs one life again."""
    return f".venv/bin/python -m tests.soak --life {seed}"
