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
    from collections.abc import Iterable, Iterator

    from tests.deploy.recorder import Call

SIMULATOR = Path(__file__).with_name("simulate.mjs")
ARN = f"arn:aws:{{service}}:{aws.REGION}:{aws.ACCOUNT}:"


@dataclass(frozen=True)
class Question:
    """One thing that a principal wants to do."""

    action: str
    resource: str
    context: dict[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Roles:
    """The roles that a task definition gives its tasks."""

    task_definition: str
    """Its ARN, with the revision."""
    roles: tuple[str, ...]


def find_questions(calls: Iterable[Call], roles: Roles) -> list[Question]:
    """Return what IAM is asked for these calls, each question once."""
    found = [question for call in calls for question in _translate(call, roles)]
    return [each for number, each in enumerate(found) if each not in found[:number]]


def _translate(call: Call, roles: Roles) -> Iterator[Question]:
    service, _, operation = call.target.partition(".")
    given = call.arguments
    match service.partition("_")[0]:
        case "AmazonSQS":
            queue = given["QueueUrl"].rpartition("/")[2]
            yield Question(f"sqs:{operation}", ARN.format(service="sqs") + queue)
        case "AmazonSSM":
            for name in given.get("Names") or [given["Name"]]:
                parameter = ARN.format(service="ssm") + "parameter" + name
                yield Question(f"ssm:{operation}", parameter)
            if operation == "PutParameter" and "Tags" in given:
                yield Question("ssm:AddTagsToResource", parameter)
        case "DynamoDB":
            yield from _translate_table(operation, given)
        case "AmazonEC2ContainerServiceV20141113":
            yield from _translate_task(operation, given, roles)
        case _:
            raise AssertionError(f"no test knows what {call.target} needs")


def _translate_table(operation: str, given: dict[str, Any]) -> Iterator[Question]:
    """Translate a call of DynamoDB; a transaction needs what each of its parts needs."""
    if operation == "TransactWriteItems":
        for item in given["TransactItems"]:
            ((kind, part),) = item.items()
            action = "ConditionCheckItem" if kind == "ConditionCheck" else f"{kind}Item"
            yield from _translate_table(action, part)
        return
    table = ARN.format(service="dynamodb") + f"table/{given['TableName']}"
    yield Question(f"dynamodb:{operation}", table)


def _translate_task(operation: str, given: dict[str, Any], roles: Roles) -> Iterator[Question]:
    cluster = given["cluster"]
    name = cluster.rpartition("/")[2]
    if not cluster.startswith("arn:"):
        cluster = ARN.format(service="ecs") + f"cluster/{name}"
    within = {"ecs:cluster": cluster}
    tasks = ARN.format(service="ecs") + f"task/{name}/"
    if operation == "RunTask":
        yield Question("ecs:RunTask", roles.task_definition, within)
        if given.get("tags") or given.get("enableECSManagedTags"):  # ECS asks only then
            yield Question("ecs:TagResource", tasks + "new", {"ecs:CreateAction": "RunTask"})
        for role in roles.roles:
            yield Question("iam:PassRole", role, {"iam:PassedToService": "ecs-tasks.amazonaws.com"})
        return
    for task in given.get("tasks") or [given["task"]]:
        yield Question(f"ecs:{operation}", tasks + task.rpartition("/")[2], within)


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
        check=True,
    )
    return [answer["why"] for answer in json.loads(done.stdout)]


def list_actions(policies: Iterable[Any]) -> set[str]:
    """Return all actions that policies allow."""
    found: set[str] = set()
    for policy in policies:
        for statement in policy["Statement"]:
            actions = statement["Action"]
            found |= {actions} if isinstance(actions, str) else set(actions)
    return found
