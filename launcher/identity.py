"""Names that are known before the thing exists: of a launch, its requests, its runner.

All are pure functions, so whoever meets a launch a second time finds what the first one made.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING

from sidecar.values import NAME_LENGTH

if TYPE_CHECKING:
    from collections.abc import Sequence

TASK_ID_LENGTH = 32
"""Characters of a task's id (ECS)."""
LONGEST_PREFIX = NAME_LENGTH - TASK_ID_LENGTH - len("-999")
"""Characters of a runner's name before the task's id."""
_TASK_ID = re.compile(r"[0-9a-zA-Z-]{8,64}")
_NEW_TASK_ID = re.compile(rf"[0-9a-f]{{{TASK_ID_LENGTH}}}")
_INSTANCE_ID = re.compile(r"i-[0-9a-f]{8,17}")
DEPLOYMENT_TAG = "runner-launcher:deployment"
REQUEST_TAG = "runner-launcher:request"
LAUNCH_TAG = "runner-launcher:launch"
TASK_TAG = "runner-launcher:task"
SCOPE_TAG = "runner-launcher:scope"
"""Of a task or machine: the URL of the scope that its runner is registered at."""
CLIENT_TOKEN_TAG = "runner-launcher:client-token"  # noqa: S105  it is no secret
"""Of a machine: the client token of the request that it was started by."""


def launch_id(deployment: str, scope: str, *key: str) -> str:
    """Make the id of a launch: the same for the same deployment, scope (URL) and key.

    The parts of a key are kept apart: ("a", "b") is not ("ab",).
    """
    return _digest([deployment, scope, *key])[:32]


def client_token(launch: str, try_: int, round_: int, step: int) -> str:
    """Make the token by which AWS recognises a request that it has had before.

    It does not depend on what is requested. AWS remembers refusals too, so each try, each round
    and each step (a capacity provider) has its own.
    """
    return _digest([launch, try_, round_, step])


def started_by(request: str) -> str:
    """Make the `startedBy` of a task: all tasks of one request have the same."""
    return f"runner-launcher/{request}"


def task_id(arn: str) -> str:
    """Return the id at the end of a task's ARN."""
    return arn.rpartition("/")[2]


def is_machine(place: str) -> bool:
    """Whether this is the id of an EC2 instance, and not a task's ARN or id."""
    return _INSTANCE_ID.fullmatch(place) is not None


def runner_name(prefix: str, task: str, generation: int) -> str:
    """Make a runner's name of its task (an ARN or an id) and the generation of its token.

    Nobody can guess it, each try has another one, and everybody who knows the task knows it.
    """
    return f"{prefix}{task_id(task)}-{generation}"[:NAME_LENGTH]


def task_of_runner(prefix: str, name: str) -> str | None:
    """Return the id of the task whose runner has this name; None where it is none of ours."""
    task, dash, generation = name.removeprefix(prefix).rpartition("-")
    if not name.startswith(prefix) or not dash or not generation.isdecimal():
        return None
    return task if _TASK_ID.fullmatch(task) else None


def is_of_task(text: str) -> bool:
    """Whether this is the id of a task of ECS or of a machine of EC2, in the form of today."""
    return _NEW_TASK_ID.fullmatch(text) is not None or is_machine(text)


def launch_of_order(started_by: str) -> str | None:
    """Return the id of the order in a task's `startedBy`; None where it is none of ours."""
    order = started_by.removeprefix("runner-launcher/")
    return order if order and order != started_by else None


def parameter_name(prefix: str, task: str) -> str:
    """Make the name of a task's token parameter (SSM)."""
    return f"{prefix}/{task_id(task)}"


def _digest(parts: Sequence[str | int]) -> str:
    return hashlib.sha256(json.dumps(list(parts)).encode()).hexdigest()
