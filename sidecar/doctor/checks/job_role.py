"""Check the role that jobs get instead of the task role, or the rules that choose it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError

from sidecar.aws.container_credentials import UpstreamError
from sidecar.errors import RelayError, SettingsError
from sidecar.examination.finding import Finding, failed, ok, warning
from sidecar.roles.rules import TASK, Proof
from sidecar.roles.trust import find_assumed
from sidecar.settings.given_roles import SETTING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sidecar.doctor.setup import Setup
    from sidecar.roles.rules import Roles

NAME = "doctor"
"""The name of the session, which CloudTrail shows."""


async def check(setup: Setup) -> list[Finding]:
    """Assume the role as a life would, and give the credentials to nobody; or read the rules."""
    if not setup.access.separate_job_role:
        return []
    if setup.settings.roles is not None:
        return await _check_rules(setup)
    try:
        role = setup.access.job_role(setup.config)
        role.set_runner(NAME)
        async with role.connected() as fetch:
            credentials = await fetch(time.time(), setup.patience.aws)
    except (UpstreamError, BotoCoreError) as error:
        change = "allow sts:AssumeRole on it, let its trust policy name the task role, and see dns"
        return [failed(str(error), change)]
    return [ok(f"jobs get {credentials.role_arn}, and never the task role")]


async def _check_rules(setup: Setup) -> list[Finding]:
    """Read the rules, also from SSM. Their roles are for jobs, and here is none: none is tried."""
    try:
        rules = await setup.rules()
    except SettingsError as error:
        return [failed(problem, f"correct {SETTING}") for problem in error.problems]
    except RelayError as error:
        change = "allow the call that stands in brackets, or correct the parameter's name"
        return [failed(str(error), change)]
    return [] if rules is None else list(_describe(rules, with_docker=setup.engine is not None))


def _describe(rules: Roles, *, with_docker: bool) -> Iterator[Finding]:
    """Say which roles the rules give, and whose word AWS takes for each."""
    text = f"{SETTING}: {len(rules.jobs)} rules for jobs, {len(rules.containers)} for containers"
    if rules.default.role == TASK:
        text += "; a job that none is for gets the task role"
    yield ok(text)
    if assumed := sorted(find_assumed(rules)):
        text = f"the task role assumes {', '.join(assumed)}"
        yield ok(f"{text} (sts:AssumeRole, sts:TagSession); no session is tried without a job")
        if with_docker:
            text = "jobs have docker, and whoever has the task role may claim any repository"
            yield warning(text, 'set proof = "oidc" in the rules, or give jobs no docker')
    if Proof.OIDC in rules.proofs:
        yield ok('with proof = "oidc" AWS verifies GitHub\'s token: the task role needs no right')
