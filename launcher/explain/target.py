"""Read what somebody asks about: a job, a task, a machine, a runner, or the URL of one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from launcher import identity
from launcher.errors import SettingsError

_RUN = re.compile(r"(?:/api/v3)?(?:/repos)?/([\w-]+/[\w.-]+)/actions/runs/(\d+)(?:/jobs?/(\d+))?")
_JOB = re.compile(r"(?:/api/v3)?/repos/([\w-]+/[\w.-]+)/actions/jobs/(\d+)")
_CONSOLE = re.compile(r"/ecs/.*clusters/([\w-]+)/tasks/([0-9a-f]{32})")
_ARN = re.compile(r"arn:[\w-]+:ecs:[\w-]+:\d+:task/(?:([\w-]+)/)?([0-9A-Za-z-]{8,64})")
_INSTANCE = re.compile(r"i-[0-9a-f]{8,17}")
_INSTANCE_IN_URL = re.compile(r"instanceId=(i-[0-9a-f]{8,17})")
_TASK = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NUMBER = re.compile(r"[0-9]{1,18}")
_RUNNER = re.compile(r"[\w.-]{1,64}")


class Kind(StrEnum):
    """A kind of thing that can be asked about."""

    JOB = "job"
    RUN = "run"
    TASK = "task"
    MACHINE = "machine"
    RUNNER = "runner"


@dataclass(frozen=True, slots=True)
class Target:
    """The job, task, machine or runner that is asked about."""

    kind: Kind
    name: str
    """A job's or run's number, a task's or machine's id, a runner's name."""
    repository: str | None = None
    """`owner/name`, where it is known."""
    cluster: str | None = None
    place: str | None = None
    """A runner's task or machine, by its id, where its name tells that."""
    run: str | None = None
    """The run of a job, where the URL tells that."""

    @property
    def home(self) -> str | None:
        """Return the task or machine that is asked about."""
        return self.name if self.kind in (Kind.TASK, Kind.MACHINE) else self.place


def parse_target(text: str, name_prefix: str, repository: str | None = None) -> Target:
    """Read what is asked about. Raises SettingsError where it is nothing that is known."""
    text = text.strip()
    if "://" in text:
        return _parse_url(text)
    if found := _ARN.fullmatch(text):
        return Target(Kind.TASK, found[2], cluster=found[1])
    if _INSTANCE.fullmatch(text):
        return Target(Kind.MACHINE, text)
    if _TASK.fullmatch(text):
        return Target(Kind.TASK, text)
    if _NUMBER.fullmatch(text):
        return Target(Kind.JOB, text, repository)
    if _RUNNER.fullmatch(text):
        place = identity.task_of_runner(name_prefix, text)
        return Target(Kind.RUNNER, text, repository, place=place)
    raise SettingsError(
        f"cannot explain {text[:100]!r}: it is neither a job's number, a task's ARN or id, a "
        "machine's id, a runner's name nor the URL of a job or run"
    )


def _parse_url(text: str) -> Target:
    parts = urlsplit(text)
    if found := _RUN.match(parts.path):
        if found[3] is not None:
            return Target(Kind.JOB, found[3], found[1], run=found[2])
        return Target(Kind.RUN, found[2], found[1])
    if found := _JOB.match(parts.path):
        return Target(Kind.JOB, found[2], found[1])
    if found := _CONSOLE.search(parts.path):
        return Target(Kind.TASK, found[2], cluster=found[1])
    if found := _INSTANCE_IN_URL.search(text):
        return Target(Kind.MACHINE, found[1])
    raise SettingsError(f"cannot explain {text[:200]}: it is no URL of a job, a run or a task")
