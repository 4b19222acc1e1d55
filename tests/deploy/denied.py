"""List what the deployed roles must not be allowed: all that is somebody else's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.deploy.parameters import APP_KEY, PAT, POOLS, WEBHOOK_SECRETS, parameter
from local import aws
from tests.deploy import garo, guests
from tests.deploy.deployed import DEPLOYMENT, POOL_STACK
from tests.deploy.permissions import Question

if TYPE_CHECKING:
    from tests.deploy.deployed import Deployed

SSM, ECS, SQS = (
    f"arn:aws:{service}:{aws.REGION}:{aws.ACCOUNT}:" for service in ("ssm", "ecs", "sqs")
)
TASKS = {"iam:PassedToService": "ecs-tasks.amazonaws.com"}
OTHER = {"ecs:cluster": f"{ECS}cluster/production"}
GUESTS = {"ecs:cluster": f"arn:aws:ecs:{aws.REGION}:{guests.ACCOUNT}:cluster/{guests.CLUSTER}"}
ADMIN = f"arn:aws:iam::{aws.ACCOUNT}:role/admin"


def list_denied(deployed: Deployed, definition: str) -> dict[str, list[Question]]:
    """List, by whose role is asked, what it must not be allowed."""
    own = {"ecs:cluster": deployed.pool_outputs["ClusterArn"]}
    queue = SQS + deployed.outputs["QueueUrl"].rpartition("/")[2]
    return {
        "Worker": [
            *_list_for_starters(deployed, definition),
            Question("sts:AssumeRole", guests.ROLE),
            Question("sts:AssumeRole", garo.ROLE),
        ],
        "Api": [
            *_list_for_starters(deployed, definition),
            Question("sqs:SendMessage", queue),
            Question("sts:TagSession", garo.ROLE),
        ],
        "Sweep": [
            Question("ecs:RunTask", definition, own),
            Question("ecs:StopTask", f"{ECS}task/production/1", OTHER),
            Question("ecs:ListTasks", "*", OTHER),
            *(
                Question(action, resource, context)
                for action, resource, context in deployed.machines.list_others(DEPLOYMENT)
            ),
            _ask("GetParameter", DEPLOYMENT, WEBHOOK_SECRETS),
            _ask("GetParameter", DEPLOYMENT, "tokens/1"),
            _ask("PutParameter", DEPLOYMENT, "tokens/1"),
            _ask("DeleteParameters", DEPLOYMENT, APP_KEY),
            _ask("DeleteParameters", "other", "tokens/1"),
            Question("sqs:SendMessage", f"{SQS}other"),
            Question("sqs:DeleteMessage", queue),
            Question("sts:AssumeRole", guests.ROLE),
        ],
        "Webhook": [
            _ask("GetParameter", DEPLOYMENT, PAT),
            _ask("GetParameter", DEPLOYMENT, "tokens/1"),
            Question("sqs:SendMessage", f"{SQS}other"),
            Question("ecs:RunTask", definition, own),
        ],
        "Guest": [
            *(Question(*each) for each in deployed.guest.machines.list_others(DEPLOYMENT)),
            Question("ecs:RunTask", deployed.guest.definition, OTHER),
            Question("iam:PassRole", f"arn:aws:iam::{guests.ACCOUNT}:role/admin", TASKS),
        ],
        # Its pools have no tasks, so it may start none.
        "Garo": [
            *(Question(*each) for each in deployed.guest.machines.list_others(DEPLOYMENT)),
            Question("ecs:RunTask", deployed.guest.definition, GUESTS),
            *(Question("iam:PassRole", each, TASKS) for each in deployed.guest.roles),
        ],
    }


def _list_for_starters(deployed: Deployed, definition: str) -> list[Question]:
    """List what whoever starts runners in the launcher's account must not be allowed."""
    own = {"ecs:cluster": deployed.pool_outputs["ClusterArn"]}
    role = deployed.role_arn("TaskRole", POOL_STACK)
    return [
        Question("ecs:RunTask", definition, OTHER),
        Question("ecs:RunTask", f"{ECS}task-definition/other:1", own),
        Question("ecs:StopTask", f"{ECS}task/production/1", OTHER),
        Question("ecs:TagResource", f"{ECS}task/production/1", {}),
        Question("iam:PassRole", ADMIN, TASKS),
        Question("iam:PassRole", role, {"iam:PassedToService": "ec2.amazonaws.com"}),
        *(Question(*each) for each in deployed.machines.list_others(DEPLOYMENT)),
        _ask("GetParameter", DEPLOYMENT, WEBHOOK_SECRETS),
        _ask("GetParameter", "other", POOLS),
        _ask("PutParameter", DEPLOYMENT, POOLS),
        _ask("DeleteParameter", DEPLOYMENT, APP_KEY),
        _ask("PutParameter", "other", "tokens/1"),
        Question("sqs:SendMessage", f"{SQS}other"),
        Question("sts:AssumeRole", ADMIN),
    ]


def _ask(operation: str, deployment: str, name: str) -> Question:
    return Question(f"ssm:{operation}", f"{SSM}parameter{parameter(deployment, name)}")
