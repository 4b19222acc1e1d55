"""`make demo LAUNCH=action`: a job of a workflow starts runners, and another one uses them.

The steps of `action/` run as GitHub's runner runs them (`local.composite`). Only their packages are
those of this machine, so that nothing is fetched.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import sysconfig
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from local import launches, programs
from local.agent import runner_user
from local.composite import Composite, Job
from local.demo import verdict as verdicts
from local.demo.launch import watching
from local.demo.launch.scenario import STEPS
from local.demo.launch.verdict import check_left, find_secrets
from local.demo.verdict import Check, list_all
from local.demo.watching import REASONS, find_answer
from local.stage import PAT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.agent import AgentProcess
    from local.demo.timeline import Timeline

ACTION = programs.ROOT / "action"
REQUIREMENTS = programs.ROOT / "requirements" / "runtime.txt"
RUNNERS = 2


async def run(timeline: Timeline) -> tuple[list[Check], AgentProcess | None]:
    """Show it; returns what was verified."""
    with timeline.live():
        timeline.begin("stage", "demo", "starts stand-ins for AWS, ECS and GitHub")
        async with AsyncExitStack() as stack:
            moto = stack.enter_context(programs.run("-m", "local.aws", env=os.environ))
            opened = launches.open_stage(moto, make=launches.Stage)
            stage = await stack.enter_async_context(opened)
            await stage.prepare_image()
            timeline.done("demo", "has started stand-ins for AWS, ECS and GitHub", "stage")
            checks = await _play(stage, timeline)
        left = [str(stage.folder)] if stage.folder.exists() else []
        files = Check("files of the demo", verdicts.NOTHING, list_all(left), left=True)
    return [*checks, files], None


async def _play(stage: launches.Stage, timeline: Timeline) -> list[Check]:
    job = make_job(stage)
    async with asyncio.TaskGroup() as group:
        watchers = [
            group.create_task(watching.watch(stage, timeline)),
            group.create_task(_watch_log(job, timeline)),
        ]
        start = Composite(job, ACTION / "start", "__start")
        timeline.begin("start", "workflow", "runs the action “start” in a first job")
        started = await start.run(count=str(RUNNERS), **_inputs())
        timeline.done("workflow", f"has run the action “start”: {started}", "start")
        await _use(stage, start, timeline)
        stop = Composite(job, ACTION / "stop", "__stop")
        timeline.begin("stop", "workflow", "runs the action “stop” in a last job")
        wanted = {name: each for name, each in _inputs().items() if name != "task_definition"}
        stopped = await stop.run(label=start.outputs["label"], **wanted)
        timeline.done("workflow", f"has run the action “stop”: {stopped}", "stop")
        await stage.ecs.wait_for(lambda: not stage.ecs.living(), 3600)
        timeline.begin("verify", "demo", "looks at what is left")
        checks = [
            Check("the actions", "start: success, stop: success", _name(started, stopped)),
            Check("the summary of the job", "names both runners", _find_summary(job, start)),
            *_check_runners(stage),
            Check("a secret in the workflow's log", "never", _find_secrets(stage, job, start)),
            Check("a secret in another log or an override", "never", find_secrets(stage)),
            *await check_left(stage),
        ]
        for each in watchers:
            each.cancel()
        timeline.done("demo", "has looked at what is left", "verify")
    return checks


async def _use(stage: launches.Stage, start: Composite, timeline: Timeline) -> None:
    """Queue a job with `runs-on: ${{ fromJSON(needs.start.outputs.runs_on) }}`; wait for it."""
    labels = json.loads(start.outputs["runs_on"])
    queued = stage.queue_job(*labels, steps=STEPS)
    timeline.done("GitHub", f"has a job that asks for {', '.join(labels)}")
    await stage.github.world.changes.until(lambda: queued.state == "completed" or None, 3600)


def make_job(stage: launches.Stage) -> Job:
    """Make the job that the action runs in: what GitHub's runner sets, and AWS's credentials."""
    kept = stage.environment()
    job = Job(
        stage.folder / "workflow",
        {
            **{name: value for name, value in kept.items() if not name.startswith("LAUNCHER_")},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}",
            "GITHUB_REPOSITORY": launches.REPOSITORY,
            "GITHUB_SERVER_URL": stage.github.url,
            "GITHUB_RUN_ID": "4711",
            "GITHUB_RUN_ATTEMPT": "1",
            "GITHUB_JOB": "start",
        },
    )
    _give_packages(job)
    return job


def _give_packages(job: Job) -> None:
    """Put this machine's packages where the action's first step would install them."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    with REQUIREMENTS.open() as file:
        counted = subprocess.run(["cksum"], stdin=file, capture_output=True, text=True, check=True)
    name = f"ecs-runner-action-{version}-{counted.stdout.strip().replace(' ', '-')}"
    (job.temp / name).symlink_to(sysconfig.get_path("purelib"))


def _inputs() -> dict[str, str]:
    return {
        "github_pat": PAT,
        "cluster": "runners",
        "task_definition": "runner",
        "parameter_prefix": launches.PREFIX,
    }


async def _watch_log(job: Job, timeline: Timeline) -> None:
    """Show what the steps print, a line at a time."""
    shown = 0
    while True:
        for line in job.log[shown:]:
            shown += 1
            if line.strip() and not line.startswith("::"):
                timeline.done("workflow", line)
        await asyncio.sleep(0.1)  # the log rings no bell


def _name(started: str, stopped: str) -> str:
    return f"start: {started}, stop: {stopped}"


def _find_summary(job: Job, start: Composite) -> str:
    names = json.loads(start.outputs.get("runner_names") or "[]")
    summary = job.summary.replace("\\", "")
    found = [name for name in names if name in summary]
    return "names both runners" if len(found) == RUNNERS else f"names {list_all(found)}"


def _check_runners(stage: launches.Stage) -> Iterator[Check]:
    """Check that one runner had the job, and that the other one was stopped."""
    (job,) = stage.github.world.jobs
    removed = {each.name: each.by for each in stage.github.world.runners.removed}
    used = removed.pop(job.runner_name, "nobody")
    yield Check("the job's result", "succeeded", job.result or job.state)
    yield Check("its step ran as", runner_user(), find_answer(job.steps[0])[len("I am ") :])
    yield Check("its runner was taken off GitHub", REASONS["job-completed"], _say(used))
    others = list_all(_say(each) for each in removed.values())
    yield Check("the other runner was taken off GitHub", REASONS["rest"], others)
    codes = [task.exit_code for task in stage.ecs.tasks if task.facts.id in job.runner_name]
    yield Check("the task of the job ended with", "exit code 0", f"exit code {codes[0]}")


def _say(by: str) -> str:
    return REASONS.get(by, by)


def _find_secrets(stage: launches.Stage, job: Job, start: Composite) -> str:
    told = "\n".join([*job.raw, job.summary, json.dumps(start.outputs)])
    return "yes" if any(secret in told for secret in stage.find_secrets()) else "never"
