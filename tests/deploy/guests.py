"""Callers of the deployed API: one has its runners in the launcher's account, one in its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from local import aws
from local.github import payloads
from tests.deploy.machines import Machines, make_role, prepare

if TYPE_CHECKING:
    from collections.abc import Callable

ACCOUNT, EXTERNAL_ID = "210987654321", "an-external-id"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/runners/guest"
CALLER, FAMILY, CLUSTER = "guest", "guest", "guests"
REPOSITORY = "octo/repo"
OWN_REF, GUEST_REF = "refs/heads/own", "refs/heads/guest"
ORDERS = (
    ("ecs", OWN_REF),
    ("machine", OWN_REF),
    ("fleet", OWN_REF),
    ("guest-task", GUEST_REF),
    ("guest-machine", GUEST_REF),
    ("guest-fleet", GUEST_REF),
)
"""The label of each order, and the branch whose workflow orders it: it says which caller it is."""
POOLS = f"""
[[pool]]
name = "guest-task"
labels = ["guest-task"]
cluster = "{CLUSTER}"
task_definition = "{FAMILY}"
launch_type = "FARGATE"
subnets = ["subnet-01234567"]

[[pool]]
name = "guest-machine"
place = "ec2"
labels = ["guest-machine"]
launch_template = "guest"

[[pool]]
name = "guest-fleet"
place = "ec2"
labels = ["guest-fleet"]
launch_template = "guest"
instance_types = ["m7i.large", "m6i.large"]
user_data = "template"

[[caller]]
name = "own"
repositories = [{payloads.number_of(REPOSITORY)}]
refs = ["{OWN_REF}"]
pools = ["linux", "machine", "fleet"]

[[caller]]
name = "{CALLER}"
repositories = [{payloads.number_of(REPOSITORY)}]
refs = ["{GUEST_REF}"]
pools = ["guest-task", "guest-machine", "guest-fleet"]
account = "{ACCOUNT}"
role = "{ROLE}"
external_id = "{EXTERNAL_ID}"
"""


@dataclass
class Guest:
    """The things that the caller has in its own account."""

    machines: Machines = field(default_factory=Machines)
    definition: str = f"arn:aws:ecs:{aws.REGION}:{ACCOUNT}:task-definition/{FAMILY}:1"
    roles: tuple[str, ...] = ()
    """Those of its task definition."""


def settle_in(client: Callable[[str], Any]) -> Guest:
    """Make a task definition and a launch template in the caller's account."""
    service = "ecs-tasks.amazonaws.com"
    roles = [make_role(client("iam"), name, service) for name in ("task", "execution")]
    client("ecs").register_task_definition(
        family=FAMILY,
        taskRoleArn=roles[0],
        executionRoleArn=roles[1],
        containerDefinitions=[{"name": "runner", "image": "runner"}],
    )
    return Guest(prepare(client, "guest", ACCOUNT), roles=tuple(roles))
