"""Translate calls of AWS into what IAM is asked for them, and ask a simulator what it answers.

Sources: AWS's "Service Authorization Reference" for actions, resources and condition keys.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local import aws

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.deploy.machines import Machines
    from tests.deploy.recorder import Call

    Translate = Callable[[str, dict[str, Any], "Roles"], "Iterator[Question]"]

SIMULATOR = Path(__file__).with_name("simulate.mjs")


@dataclass(frozen=True)
class Question:
    """One thing that a principal wants to do."""

    action: str
    resource: str
    context: dict[str, str | list[str]] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Roles:
    """The rights of what the launcher starts, and the account that it starts it in."""

    task_definition: str
    """Its ARN, with the revision."""
    roles: tuple[str, ...]
    """Those of the task definition."""
    machines: Machines
    account: str = aws.ACCOUNT

    def arn(self, service: str, resource: str) -> str:
        """Return the ARN of a resource."""
        return f"arn:aws:{service}:{aws.REGION}:{self.account}:{resource}"


def find_questions(calls: Iterable[Call], roles: Roles) -> list[Question]:
    """Return what IAM is asked for these calls, each question once."""
    found = [question for call in calls for question in _translate(call, roles)]
    return [each for number, each in enumerate(found) if each not in found[:number]]


def _translate(call: Call, roles: Roles) -> Iterator[Question]:
    service, _, operation = call.target.partition(".")
    translate = _SERVICES.get(service.partition("_")[0])
    assert translate, f"no test knows what {call.target} needs"
    yield from translate(operation, call.arguments, roles)


def _translate_message(operation: str, given: dict[str, Any], roles: Roles) -> Iterator[Question]:
    queue = given["QueueUrl"].rpartition("/")[2]
    yield Question(f"sqs:{operation}", roles.arn("sqs", queue))


def _translate_parameter(operation: str, given: dict[str, Any], roles: Roles) -> Iterator[Question]:
    if operation == "DescribeParameters":
        yield Question("ssm:DescribeParameters", "*")
        return
    for name in given.get("Names") or [given["Name"]]:
        parameter = roles.arn("ssm", f"parameter{name}")
        yield Question(f"ssm:{operation}", parameter)
    if operation == "PutParameter" and "Tags" in given:
        yield Question("ssm:AddTagsToResource", parameter)


def _translate_table(operation: str, given: dict[str, Any], roles: Roles) -> Iterator[Question]:
    """Translate a call of DynamoDB; a transaction needs what each of its parts needs."""
    if operation == "TransactWriteItems":
        for item in given["TransactItems"]:
            ((kind, part),) = item.items()
            action = "ConditionCheckItem" if kind == "ConditionCheck" else f"{kind}Item"
            yield from _translate_table(action, part, roles)
        return
    yield Question(f"dynamodb:{operation}", roles.arn("dynamodb", f"table/{given['TableName']}"))


def _translate_task(operation: str, given: dict[str, Any], roles: Roles) -> Iterator[Question]:
    cluster = given["cluster"]
    name = cluster.rpartition("/")[2]
    if not cluster.startswith("arn:"):
        cluster = roles.arn("ecs", f"cluster/{name}")
    within: dict[str, str | list[str]] = {"ecs:cluster": cluster}
    tasks = roles.arn("ecs", f"task/{name}/")
    if operation == "RunTask":
        yield Question("ecs:RunTask", roles.task_definition, within)
        if given.get("tags") or given.get("enableECSManagedTags"):  # ECS asks only then
            yield Question("ecs:TagResource", tasks + "new", {"ecs:CreateAction": "RunTask"})
        for role in roles.roles:
            yield Question("iam:PassRole", role, {"iam:PassedToService": "ecs-tasks.amazonaws.com"})
        return
    if operation == "ListTasks":
        yield Question("ecs:ListTasks", "*", within)
        return
    for task in given.get("tasks") or [given["task"]]:
        yield Question(f"ecs:{operation}", tasks + task.rpartition("/")[2], within)


def _translate_machine(operation: str, given: dict[str, Any], roles: Roles) -> Iterator[Question]:
    for action, resource, context in roles.machines.translate(operation, given):
        yield Question(action, resource, context)


def _translate_session(operation: str, given: dict[str, Any], _: Roles) -> Iterator[Question]:
    """Translate AssumeRole: the role's trust policy is asked the same."""
    role, tags = given["RoleArn"], given.get("Tags", {})
    yield Question(f"sts:{operation}", role, {"sts:ExternalId": given["ExternalId"]})
    if tags:
        context: dict[str, str | list[str]] = {"aws:TagKeys": list(tags)}
        named = {f"aws:RequestTag/{key}": value for key, value in tags.items()}
        yield Question("sts:TagSession", role, context | named)


_SERVICES: dict[str, Translate] = {
    "AmazonSQS": _translate_message,
    "AmazonSSM": _translate_parameter,
    "DynamoDB": _translate_table,
    "AmazonEC2ContainerServiceV20141113": _translate_task,
    "AmazonEC2": _translate_machine,
    "AWSSecurityTokenService": _translate_session,
}
"""A translator of the calls of a service."""


def simulate(
    principal: str,
    policies: list[Any],
    questions: list[Question],
    resource_policy: Any = None,
) -> list[str]:
    """Return the answer to each question, in AWS's words: `Allowed`, `ImplicitlyDenied`, ..."""
    asked = [
        {
            "principal": principal,
            "action": each.action,
            "resource": each.resource,
            "context": each.context,
            "policies": policies,
            **({"resourcePolicy": resource_policy} if resource_policy else {}),
        }
        for each in questions
    ]
    done = subprocess.run(
        ["node", str(SIMULATOR)],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [answer["why"] for answer in json.loads(done.stdout)]


def list_actions(policies: Iterable[Any]) -> set[str]:
    """Return all actions that policies allow."""
    found: set[str] = set()
    for policy in policies:
        for statement in policy["Statement"]:
            actions = statement["Action"]
            found |= {actions} if isinstance(actions, str) else set(actions)
    return found
