"""Jobs that use the action against the stage of whole launches."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local.agent import PATIENCE
from local.composite import Composite, Job
from local.stage import PAT
from tests.launches.stage import PREFIX, REPOSITORY, Stage

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from local.github.jobs import Job as QueuedJob

ROOT = Path(__file__).parents[2]
ACTION = ROOT / "action"
REQUIREMENTS = ROOT / "requirements" / "runtime.txt"


def play(scene: Coroutine[Any, Any, None], timeout: float = 150) -> None:
    """Run one scene within `timeout` seconds."""
    asyncio.run(asyncio.wait_for(scene, timeout))


def text_of(job: Job) -> str:
    """Return the log as everybody sees it."""
    return "\n".join(job.log)


def make_job(stage: Stage, name: str = "pre-job", **environ: str) -> Job:
    """Make a job at the stage; its packages are those of the tests, so that none is fetched."""
    kept = {key: text for key, text in stage.environment().items() if key[:9] != "LAUNCHER_"}
    job = Job(
        stage.folder / f"job-{name}",
        {
            **kept,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}",
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_SERVER_URL": stage.github.url,
            "GITHUB_RUN_ID": "4711",
            "GITHUB_RUN_ATTEMPT": "1",
            "GITHUB_JOB": name,
            **environ,
        },
    )
    give_packages(job)
    return job


def give_packages(job: Job) -> None:
    """Do what the step `install` does, with the packages that the tests themselves have."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    with REQUIREMENTS.open() as file:
        checksum = subprocess.run(["cksum"], stdin=file, capture_output=True, text=True, check=True)
    name = f"ecs-runner-action-{version}-{checksum.stdout.strip().replace(' ', '-')}"
    (job.temp / name).symlink_to(sysconfig.get_path("purelib"))


def start(job: Job, name: str = "__octo_runners_action_start") -> Composite:
    """Use the action that starts runners."""
    return Composite(job, ACTION / "start", name)


def stop(job: Job) -> Composite:
    """Use the action that stops them."""
    return Composite(job, ACTION / "stop", "__octo_runners_action_stop")


def inputs(**more: str) -> dict[str, str]:
    """Return the inputs that every start at the stage needs."""
    return {
        "github_pat": PAT,
        "cluster": "runners",
        "task_definition": "runner",
        "parameter_prefix": PREFIX,
        **more,
    }


def queue_job(stage: Stage, runs_on: str) -> QueuedJob:
    """Queue a job with `runs-on: ${{ fromJSON(...) }}`."""
    return stage.queue_job(*json.loads(runs_on))


async def wait_for_runner(stage: Stage, job: QueuedJob) -> None:
    """Wait until a runner has taken a job."""
    taken = await stage.github.world.changes.until(lambda: job.state != "queued" or None, PATIENCE)
    assert taken
