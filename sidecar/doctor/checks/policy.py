"""Check what the agent's role may do, as far as AWS tells that without its being done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sidecar import values
from sidecar.aws.calls import AwsError
from sidecar.aws.policy import PERMISSION, Decision, simulate
from sidecar.aws.references import SECRETS_MANAGER, SSM
from sidecar.doctor.endpoints import list_references
from sidecar.errors import SidecarError
from sidecar.examination.finding import Finding, failed, ok, unknown
from sidecar.roles.trust import list_agent_calls
from sidecar.settings.given_roles import RolesParameters

if TYPE_CHECKING:
    from sidecar.aws.instance_facts import Facts
    from sidecar.doctor.setup import Setup

TRIED = {
    "ssm:GetParameter",
    "ssm:GetParameters",
    "secretsmanager:GetSecretValue",
    "sts:AssumeRole",
}
"""Actions that other checks try for themselves: they change nothing."""


@dataclass(frozen=True, slots=True)
class _Place:
    """The beginning of the ARNs of this account and region."""

    partition: str
    region: str
    account: str

    def name(self, service: str, resource: str) -> str:
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{resource}"


async def check(setup: Setup) -> list[Finding]:
    """Ask AWS to judge each call of a life by the role's policies."""
    try:
        identity = await setup.identity()
    except AwsError:
        return [unknown("the role is not known", "see the line identity")]
    role = identity.role_arn
    if role is None:
        return [unknown(f"{identity.arn} is no role", "examine it in the task, with its role")]
    if setup.access.agent_credentials is not None:
        role = setup.access.agent_credentials.role_arn or role  # it has the role's path
    _, partition, _, _, account, *_ = role.split(":")
    place = _Place(partition, setup.config.task.region or "", account)
    by_rules = await _list_rules_calls(setup)
    wanted = [*_list_calls(setup, place, await setup.facts(), role), *by_rules]
    if not wanted:
        return [ok("no setting needs a call of AWS")]
    try:
        region, session = setup.config.task.region, setup.session
        decisions = await setup.call_aws(
            lambda seconds: simulate(role, wanted, region, session, seconds)
        )
    except AwsError as error:
        return _say_unknown(wanted, by_rules, str(error))
    return _judge(decisions, {one for one in by_rules if one[1].split(":")[4] == account})


async def _list_rules_calls(setup: Setup) -> list[tuple[str, str]]:
    """List the calls by which jobs get roles of rules. GitHub's token needs none of them."""
    try:
        rules = await setup.rules()
    except SidecarError:  # the line job role tells it
        return []
    return [] if rules is None else list_agent_calls(rules)


def _list_calls(setup: Setup, place: _Place, facts: Facts, role: str) -> list[tuple[str, str]]:
    """List the actions of a life, each with its resource."""
    settings = setup.settings
    found = []
    if (name := settings.token_parameter) is not None:
        name = name if facts.id else name.replace(values.TASK, "*").replace(values.INSTANCE, "*")
        parameter = _name_parameter(place, values.put_id(name, facts.id))
        found += [("ssm:GetParameter", parameter), ("ssm:DeleteParameter", parameter)]
    if settings.launch_config is not None:
        found.append(("ssm:GetParameters", _name_parameter(place, f"{settings.launch_config}/*")))
    for reference in list_references(settings).values():
        name = reference.name
        if reference.kind == SSM:
            found.append(("ssm:GetParameter", _name_parameter(place, name)))
        else:
            by_name = place.name(SECRETS_MANAGER, f"secret:{name}-??????")
            secret = name if name.startswith("arn:") else by_name
            found.append(("secretsmanager:GetSecretValue", secret))
    if isinstance(settings.roles, RolesParameters):
        names = settings.roles.names
        found += [("ssm:GetParameter", _name_parameter(place, name)) for name in names]
    if settings.roles is None and setup.access.separate_job_role:
        found.append(("sts:AssumeRole", settings.job_role_arn or role))
    if getattr(facts, "service", ""):
        found.append(("ecs:UpdateTaskProtection", str(getattr(facts, "arn", "*"))))
    return list(dict.fromkeys(found))


def _name_parameter(place: _Place, name: str) -> str:
    return name if name.startswith("arn:") else place.name("ssm", f"parameter/{name.lstrip('/')}")


def _say_unknown(
    wanted: list[tuple[str, str]], by_rules: list[tuple[str, str]], reason: str
) -> list[Finding]:
    """Name what no other line tries: a role of a rule is tried by none, since there is no job."""
    untried = [action for action, _ in wanted if action not in TRIED]
    untried += [f"{action} on {role}" for action, role in by_rules]
    if not untried:
        return [ok("other lines try every call that the settings need")]
    text = f"not asked without doing it: {', '.join(untried)} ({reason})"
    change = f"compare with the role's policy, or allow the role {PERMISSION} on itself"
    return [unknown(text, change)]


def _judge(decisions: list[Decision], trusting: set[tuple[str, str]]) -> list[Finding]:
    """Say what is refused; `trusting` are calls that the role's trust policy alone may allow."""
    found = []
    for one in decisions:
        text = f"the role's policies refuse {one.action} on {one.resource}"
        if one.allowed:
            continue
        if one.uncertain:
            change = "see whether the condition in the policy holds when the call is made"
            found.append(unknown(f"{text}, as far as a condition can be judged here", change))
        elif (one.action, one.resource) in trusting:
            change = f"allow {one.action} on it, if its trust policy does not name the task role"
            found.append(unknown(f"{text}, which is in the same account", change))
        else:
            found.append(failed(text, f"allow {one.action} on it"))
    allowed = sorted({one.action for one in decisions if one.allowed})
    return [*found, ok(f"the role's policies allow {', '.join(allowed)}")] if allowed else found
