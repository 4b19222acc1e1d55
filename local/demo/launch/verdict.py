"""Compare what happened to all jobs, and what is left, with what should be; from outside."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from local import leftovers
from local.agent import runner_user
from local.demo.verdict import NOTHING, Check, list_all
from local.demo.watching import REASONS, find_answer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from local.demo.launch.endings import Ending
    from local.launches import Stage

LONGEST = 3600.0
"""Seconds of a wait that the demo's own deadline bounds."""


async def check_left(stage: Stage) -> list[Check]:
    """Check that nothing is left, while the stand-ins still run."""
    left = await _list_queued(stage) if stage.queues.main else []
    left += [
        ("parameters in SSM", await stage.find_parameters()),
        ("tasks in ECS", [task.arn for task in stage.ecs.living()]),
        ("runners at GitHub", await stage.list_runners()),
        (
            "processes of tasks",
            [text for task in stage.ecs.tasks for text in _find_processes(stage, task)],
        ),
    ]
    return [Check(what, NOTHING, list_all(found), left=True) for what, found in left]


async def _list_queued(stage: Stage) -> list[tuple[str, list[str]]]:
    messages = await stage.empty_queue(LONGEST)
    living = [
        name
        for name, item in (await stage.find_records()).items()
        if not item.get("ended") or not (item.get("served") or item.get("given_up"))
    ]
    return [
        ("messages in the queue", _name_counts(messages.get("queue", {}))),
        ("messages in the dead letters", _name_counts(messages.get("dead letters", {}))),
        ("launches in the table that still want something", living),
    ]


def verify(stage: Stage, ending: Ending, jobs: int) -> Iterator[Check]:
    """Check what has happened; first let nothing be in the queue any more (`check_left`)."""
    world = stage.github.world
    yield Check(
        "the jobs' results" if jobs > 1 else "the job's result",
        _tally([ending.job_result] * jobs),
        _tally(job.result or job.state for job in world.jobs),
    )
    yield Check(
        "the tasks ended with" if jobs * len(ending.tasks) > 1 else "the task ended with",
        _tally(ending.tasks * jobs),
        _tally(_describe_end(task) for task in stage.ecs.tasks),
    )
    asked = len(stage.ecs.asked("RunTask", once=True))
    yield Check("ECS was asked to run a task", _times(ending.requests * jobs), _times(asked))
    if stage.queues.main:
        yield Check("the webhook answered", "each delivery with 202", find_answers(stage))
    if ending.job_result == "succeeded":
        users = {
            find_answer(step).removeprefix("I am ") for job in world.jobs for step in job.steps
        }
        yield Check(
            "the job's steps ran as" if jobs == 1 else "the jobs' steps ran as",
            runner_user(),
            list_all(sorted(users)),
        )
    names = {job.runner_name for job in world.jobs} - {
        ""
    }  # the runner of a task that failed it may be there
    gone = [each for each in world.runners.removed if each.name in names or not names]
    removed = [REASONS.get(each.by, each.by) for each in gone]
    wanted = REASONS.get(ending.removed_by, ending.removed_by)
    off = "the runner was taken off GitHub" if jobs == 1 else "the runners were taken off GitHub"
    yield Check(off, _tally([wanted] * jobs), _tally(removed))
    yield Check("a secret in a log, an override, a message", "never", find_secrets(stage))


def _describe_end(task: Any) -> str:
    return f"exit code {task.exit_code}" if task.exit_code is not None else str(task.stop_code)


def _tally(found: Iterable[str]) -> str:
    counts = Counter(found)
    return (
        ", ".join(
            f"{number} x {what}" if counts.total() > 1 else what
            for what, number in sorted(counts.items())
        )
        or NOTHING
    )


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def find_answers(stage: Stage) -> str:
    """Say how the webhook answered; what was sent again counts by its last answer."""
    last = {each.guid: each for each in stage.github.world.hooks.deliveries if each.action}
    wrong = [f"{each.action}: {each.status_code}" for each in last.values()]
    wrong = [each for each in wrong if not each.endswith(" 202")]
    return list_all(wrong) if wrong else "each delivery with 202"


def find_secrets(stage: Stage) -> str:
    """Look for every secret in what ECS was told, and in every log: "yes" or "never"."""
    texts = [repr(stage.ecs.requests), *(each.transcript() for each in stage.launchers)]
    texts += [task.process.transcript() for task in stage.ecs.tasks if task.process]
    texts += [job.log() for job in stage.github.world.jobs]
    whole = "\n".join(texts)
    return "yes" if any(secret in whole for secret in stage.find_secrets()) else "never"


def _find_processes(stage: Stage, task: Any) -> list[str]:
    return list(leftovers.find(stage.folder / task.facts.id).values())


def _name_counts(counts: dict[str, int]) -> list[str]:
    return [f"{number} {name}" for name, number in counts.items()]
