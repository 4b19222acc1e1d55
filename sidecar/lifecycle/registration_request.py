"""Choose what to register, from the settings and from what came with the token."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from sidecar import values
from sidecar.aws.instance_facts import InstanceFacts
from sidecar.errors import TokenError
from sidecar.runner.registration_request import RegistrationRequest
from sidecar.runner.workspace import NAME

if TYPE_CHECKING:
    from sidecar.aws.instance_facts import Facts
    from sidecar.settings.model import Settings
    from sidecar.tokens.value import RegistrationToken

RANDOM, RANDOM_ALONE = 6, 12
"""Characters that make a name unique: after the id, and where no id is known."""
MACHINE_PREFIX = "ec2-"
"""The prefix of a machine's runner, where none is set."""


def make_request(
    settings: Settings, token: RegistrationToken, facts: Facts, work_dir: str | None = None
) -> RegistrationRequest:
    """Choose what to register. What came with the token was made for this task, so it wins.

    Labels add up. `work_dir` takes the place of the setting's default. Raises TokenError if
    neither setting nor token says where to register, or which labels a runner without the default
    ones has.
    """
    url = token.url or settings.github_url
    if url is None and token.jit is None:  # a JIT configuration holds the URL itself
        named = settings.token_parameter or "the token"
        raise TokenError(
            f"cannot register: neither SIDECAR_GITHUB_URL nor {named} says where "
            "(example: SIDECAR_GITHUB_URL=https://github.com/octo-org/octo-repo)"
        )
    labels = tuple(dict.fromkeys((*settings.labels, *token.labels)))
    group = token.group or settings.runner_group
    no_default_labels = settings.no_default_labels or token.no_default_labels
    if no_default_labels and not (labels or token.jit):  # the runner's program refuses that
        raise TokenError(
            "cannot register: SIDECAR_NO_DEFAULT_LABELS leaves the runner without any label, and "
            "the token brings none (example: SIDECAR_LABELS=ecs)"
        )
    name = token.name or settings.name or make_name(_choose_prefix(settings, facts), facts)
    return RegistrationRequest(
        url=url or "",
        token=token.token,
        name=name,
        labels=labels,
        no_default_labels=no_default_labels,
        group=group,
        disable_update=settings.disable_update,
        work_dir=token.work_dir or (work_dir or settings.work_dir).replace(NAME, name),
        unique=token.name is None and settings.name is None,
    )


def make_name(prefix: str, facts: Facts) -> str:
    """Make a runner name with the task's or machine's id, so that people find one from the other.

    It ends with random characters, so no two runners share it, not even of the same task: after
    a lost answer a registration is taken over by its name.
    """
    random = secrets.token_hex(RANDOM_ALONE // 2)
    room = values.NAME_LENGTH - len(prefix) - RANDOM - 1
    own_id = facts.shown_id[-room:]  # the end of a machine's id tells it from others
    return f"{prefix}{own_id}-{random[:RANDOM]}" if own_id else prefix + random


def _choose_prefix(settings: Settings, facts: Facts) -> str:
    if isinstance(facts, InstanceFacts) and "name_prefix" not in settings.model_fields_set:
        return MACHINE_PREFIX
    return settings.name_prefix
