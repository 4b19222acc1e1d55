"""What to register: the settings and what came with the token, put together."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from sidecar.errors import TokenError
from sidecar.runner.configure import RegistrationRequest
from sidecar.runner.workspace import NAME

if TYPE_CHECKING:
    from sidecar.aws.task_metadata import TaskFacts
    from sidecar.settings.model import Settings
    from sidecar.tokens.value import RegistrationToken

TASK_ID_SHOWN = 12
"""Characters of the task's id that go into the name: enough to find the task by."""


def decide(
    settings: Settings, right: RegistrationToken, task: TaskFacts, work_dir: str | None = None
) -> RegistrationRequest:
    """Decide what to register. What came with the token was made for this task, and so wins.

    Labels add up. `work_dir` is where to work if nobody says it. Raises TokenError when nobody
    said where to register.
    """
    url = right.url or settings.github_url
    if url is None and right.jit is None:  # which holds all that its listener needs
        named = settings.token_parameter or "the token"
        raise TokenError(
            f"cannot register: neither SIDECAR_GITHUB_URL nor {named} says where "
            "(example: SIDECAR_GITHUB_URL=https://github.com/octo-org/octo-repo)"
        )
    name = right.name or settings.name or generated(settings.name_prefix, task)
    return RegistrationRequest(
        url=url or "",
        token=right.token,
        name=name,
        labels=tuple(dict.fromkeys((*settings.labels, *right.labels))),
        no_default_labels=settings.no_default_labels or right.no_default_labels,
        group=right.group or settings.runner_group,
        work_dir=right.work_dir or (work_dir or settings.work_dir).replace(NAME, name),
        unique=right.name is None and settings.name is None,
    )


def generated(prefix: str, task: TaskFacts) -> str:
    """Name the runner after its task, so that a person finds one from the other.

    No other runner bears that name, not even one of the same task: a registration whose answer
    was lost is taken over by its name, and it must not be somebody else's.
    """
    random = secrets.token_hex(TASK_ID_SHOWN // 2)
    return f"{prefix}{task.id[:TASK_ID_SHOWN]}-{random[:6]}" if task.id else prefix + random
