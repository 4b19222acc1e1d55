"""Give each container its own role, or none, by the `[[container]]` rules of SIDECAR_ROLES."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from sidecar.docker.connection import RequestRefused
from sidecar.relay import running_beside
from sidecar.relay.assigned_role import AssignedRole
from sidecar.relay.protocol import deny
from sidecar.relay.routes import is_task_s_own
from sidecar.roles.containers import JOB, SERVICE_LABEL, ContainerRule, find_rule
from sidecar.roles.rules import NONE, TASK

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from sidecar.lifecycle.job_roles import JobRoles
    from sidecar.relay import Relay
    from sidecar.relay.protocol import Refused
    from sidecar.relay.refresher import Refresher
    from sidecar.roles.containers import Container

log = structlog.get_logger()

LONGEST_FACT = 200
"""Characters of an image or a service that an event shows: both come from the job."""

_STRANGER = deny(
    "this address belongs to no container that the agent knows; with [[container]] in "
    "SIDECAR_ROLES, only known containers have credentials"
)


class ContainerRoles:
    """Makes the path of each container that is created, with the credentials of its rule.

    A role of a rule is assumed when its first container is created.
    """

    def __init__(self, roles: JobRoles, relay: Relay) -> None:
        self._roles = roles
        self._relay = relay
        self._refreshers: dict[str, tuple[AssignedRole, Refresher]] = {}

    async def start(self, running: AsyncExitStack) -> None:
        """Judge containers by the rules until `running` is closed."""
        self._relay.identities.separate(is_task_s_own, _STRANGER)
        for rule in self._roles.roles.containers:
            if rule.role == NONE or rule.is_plain:
                continue
            source = AssignedRole()
            refresher = self._relay.make_refresher(source)
            self._refreshers[rule.name] = source, refresher
            await running.enter_async_context(running_beside(refresher.run()))

    def mint(self, container: Container) -> str:
        """Return the path of a container that is being created. Raises RequestRefused."""
        identities = self._relay.identities
        rule = find_rule(self._roles.roles.containers, container)
        if rule is None or rule.is_plain:
            name = None if rule is None else rule.name
            _log_choice(container, name, JOB)
            return identities.mint(rule=name)
        if container.shares_network:
            raise RequestRefused(
                403,
                f"refused by the runner's agent: the rule {rule.name!r} gives this container other "
                "credentials than its job's, so it needs a network of its own (SIDECAR_ROLES)",
            )
        refusal = self._find_refusal(rule)
        _log_choice(container, rule.name, rule.role, refusal)
        if refusal is not None:
            return identities.mint(refusal=_told_none(refusal), rule=rule.name)
        source, refresher = self._refreshers[rule.name]
        source.assign(self._roles.make_container_source(rule))
        return identities.mint(refresher, rule=rule.name)

    def _find_refusal(self, rule: ContainerRule) -> str | None:
        """Return why a container of this rule has no credentials; None if it has some."""
        where = f"the rule {rule.name!r} of SIDECAR_ROLES"
        match = self._roles.match
        if rule.role == NONE:
            return f"{where} gives this container no credentials"
        if match is None:
            return "the job has no role, so this container has none"
        if rule.role == JOB:
            if match.terms.role == TASK:
                return f"{where} limits a role, and the job has the task's own"
            return None
        if match.rule is None or rule.role not in match.rule.container_roles:
            return f"{where} names a role that the rule of the job does not list"
        return None


def _log_choice(
    container: Container, rule: str | None, role: str, refusal: str | None = None
) -> None:
    """Log what a container that is being created will have; its image and labels are the job's."""
    facts: dict[str, str] = {} if refusal is None else {"reason": refusal}
    log.info(
        "container.role_chosen",
        image=(container.image or "")[:LONGEST_FACT],
        service=(container.labels.get(SERVICE_LABEL) or "")[:LONGEST_FACT] or None,
        rule=rule,
        role=role,
        refused=refusal is not None,
        **facts,
    )


def _told_none(message: str) -> Refused:
    """Refuse a container; its audit event says that a rule decided it."""
    return deny(message)._replace(reason="no role for the container")
