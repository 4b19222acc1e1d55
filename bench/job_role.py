"""Measure what a job waits for its role: its first hook, beside STS's call alone."""

from __future__ import annotations

import json
import signal
import time
import urllib.request
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from bench.child import Child
from bench.figure import Figure, typical
from bench.stage import base_environment, life, program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.stage import Stage

RUNS = 11
ROLE = "arn:aws:iam::123456789012:role/build"
RULES = f'[[job]]\nname = "build"\nrepository = "octo/*"\nrole = "{ROLE}"\n'
READY = '"phase": "idle"'
ASSIGNED, STOPPING = '"event": "role.assigned"', '"event": "stop.requested"'
SHELL = "/bin/bash"
"""The shell by which the runner runs a hook."""
JOB = {
    "GITHUB_REPOSITORY": "octo/repo",
    "GITHUB_REPOSITORY_ID": "1",
    "GITHUB_REF": "refs/heads/main",
    "GITHUB_REF_PROTECTED": "false",
    "GITHUB_SHA": "6dcb09b5b57875f334f61aebed695e2e4193db5e",
    "GITHUB_WORKFLOW": "CI",
    "GITHUB_WORKFLOW_REF": "octo/repo/.github/workflows/ci.yml@refs/heads/main",
    "GITHUB_EVENT_NAME": "push",
    "GITHUB_JOB": "build",
    "GITHUB_ACTOR": "octocat",
    "GITHUB_TRIGGERING_ACTOR": "octocat",
    "GITHUB_RUN_ID": "1",
    "GITHUB_RUN_ATTEMPT": "1",
}


def measure(stage: Stage, runs: int = RUNS) -> Iterator[Figure]:
    """Run the first hook of lives with rules and without, and STS's call, in turns."""
    readings: dict[str, list[float]] = {"with": [], "without": [], "call": []}
    with program("bench.sts", ROLE) as sts:
        rules = {"SIDECAR_ROLES": RULES, "AWS_ENDPOINT_URL_STS": sts}
        for turn in range(runs + 1):
            taken = {
                "with": run_hook(stage, rules),
                "without": run_hook(stage, {}),
                "call": assume(sts),
            }
            if turn:  # the first one pays for cold caches
                for name, seconds in taken.items():
                    readings[name].append(seconds * 1000)
    found, without, call = (typical(readings[name]) for name in ("with", "without", "call"))
    parts = {"job_role_call_ms": call, "job_role_without_ms": without}
    yield Figure("job_role_ms", found, f"{found:.0f} ms", f"{call:.0f} ms (the call alone)", parts)
    floor = without + call
    beside = f"{floor:.0f} ms (a hook without rules, and the call)"
    yield Figure("job_role_vs_floor", found / floor, f"{found:.0f} ms", beside)


def run_hook(stage: Stage, settings: dict[str, str]) -> float:
    """Run a life until it listens for a job; return the seconds that its first hook takes."""
    root = stage.runner()
    with life(stage.environment(stage.token(), root, **settings)) as agent:
        agent.until(READY)
        took = time_hook(root)
        if settings:
            agent.until(ASSIGNED)
        agent.signal(signal.SIGTERM)
        agent.until(STOPPING)
        agent.signal(signal.SIGTERM)  # the first one waits for the job, of which there is no more
        agent.ended()
    return took


def time_hook(root: Path) -> float:
    """Run the first hook as the runner does; return the seconds that it takes."""
    hook = Child((SHELL, "-e", str(root / ".sidecar" / "job-started.sh")), describe(root))
    code, _, ended = hook.ended()
    if code != 0 or hook.said:
        raise RuntimeError(f"the hook ended with {code}: {''.join(hook.said)}")
    return ended - hook.started


def describe(root: Path) -> dict[str, str]:
    """Write the event as the runner does; return the variables of the hook."""
    path = root / "_work" / "_temp" / "_github_workflow" / "event.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"repository": {"full_name": "octo/repo"}}))
    return {**base_environment(), **JOB, "GITHUB_EVENT_PATH": str(path)}


def assume(url: str) -> float:
    """Make STS's call alone, without a library of AWS; return the seconds that it takes."""
    fields = {"Action": "AssumeRole", "RoleArn": ROLE, "RoleSessionName": "bench"}
    began = time.monotonic()
    with urllib.request.urlopen(url, urlencode(fields).encode(), timeout=30) as answer:
        if b"SessionToken" not in answer.read():
            raise RuntimeError("STS gave no session")
    return time.monotonic() - began
