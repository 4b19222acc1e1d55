"""Create or update a stack of CloudFormation, and say what happens until it is done."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.deploy.aws import code_of
from launcher.errors import Exit, LaunchError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from launcher.deploy.aws import Account

FOLDER = Path(__file__).parent
PAUSE, TIMEOUT = 3.0, 1800.0
"""Seconds between two looks at a stack, and for all of them."""
TAG = "runner-launcher:deployment"
"""Of all that belongs to a deployment."""
REASONS = 5
"""Failures of resources that an error quotes."""


@dataclass(frozen=True, slots=True)
class Stack:
    """One stack to deploy: its template, and its parameters and tags."""

    name: str
    template: str
    parameters: Mapping[str, str]
    tags: Mapping[str, str]
    capability: str = "CAPABILITY_IAM"

    def arguments(self) -> dict[str, Any]:
        """Return what both calls take."""
        return {
            "StackName": self.name,
            "TemplateBody": self.template,
            "Capabilities": [self.capability],
            "Parameters": [
                {"ParameterKey": key, "ParameterValue": value}
                for key, value in sorted(self.parameters.items())
            ],
            "Tags": [{"Key": key, "Value": value} for key, value in sorted(self.tags.items())],
        }


def stack_name(deployment: str, part: str = "launcher") -> str:
    """Return the name of a stack of a deployment; CloudFormation takes no '_'."""
    return f"runner-{part}-{deployment.replace('_', '-')}"


def read_template(name: str) -> str:
    """Read one of the templates of this package."""
    return (FOLDER / name).read_text()


def deploy(
    account: Account,
    stack: Stack,
    say: Callable[[str], None],
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, str]:
    """Create or update the stack; return its outputs. Raises LaunchError."""
    action = f"cannot deploy the stack {stack.name}"
    status = read_status(account, stack.name)
    if status == "ROLLBACK_COMPLETE":  # its creation failed, so nothing is in it
        say(f"{stack.name}: deleting what a failed creation has left")
        account.call("cloudformation", "delete_stack", action, StackName=stack.name)
        _wait(account, stack.name, action, sleep, clock)
        status = None
    verb = "create_stack" if status is None else "update_stack"
    say(f"{stack.name}: {'creating' if status is None else 'updating'} it")
    try:
        account.call("cloudformation", verb, action, **stack.arguments())
    except LaunchError as error:
        if code_of(error) != "ValidationError" or "No updates" not in str(error):
            raise
        say(f"{stack.name}: nothing has changed")
        return read_outputs(account, stack.name)
    status = _wait(account, stack.name, action, sleep, clock)
    if status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        reasons = "; ".join(_find_failures(account, stack.name)) or "AWS gives no reason"
        raise LaunchError(Exit.REFUSED, f"{action}: {status}: {reasons}")
    say(f"{stack.name}: done")
    return read_outputs(account, stack.name)


def delete(
    account: Account,
    name: str,
    say: Callable[[str], None],
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Delete a stack; one that does not exist is no error. Raises LaunchError."""
    if read_status(account, name) is None:
        return
    action = f"cannot delete the stack {name}"
    say(f"{name}: deleting it")
    account.call("cloudformation", "delete_stack", action, StackName=name)
    status = _wait(account, name, action, sleep, clock)
    if status is not None:
        reasons = "; ".join(_find_failures(account, name)) or "AWS gives no reason"
        raise LaunchError(Exit.REFUSED, f"{action}: {status}: {reasons}")
    say(f"{name}: deleted")


def read_status(account: Account, name: str) -> str | None:
    """Return the status of a stack; None where there is none."""
    found = _describe(account, name)
    status = found.get("StackStatus") if found else None
    return None if status in (None, "DELETE_COMPLETE") else str(status)


def read_outputs(account: Account, name: str) -> dict[str, str]:
    """Return the outputs of a stack. Raises LaunchError where there is no such stack."""
    found = _describe_existing(account, name)
    return {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", [])}


def read_parameters(account: Account, name: str) -> dict[str, str]:
    """Return what a stack was deployed with. Raises LaunchError where there is no such stack."""
    found = _describe_existing(account, name)
    return {each["ParameterKey"]: each["ParameterValue"] for each in found.get("Parameters", [])}


def _describe_existing(account: Account, name: str) -> dict[str, Any]:
    found = _describe(account, name)
    if found is None:
        raise LaunchError(Exit.SETTINGS, f"there is no stack {name} (run: launcher.deploy stack)")
    return found


def _describe(account: Account, name: str) -> dict[str, Any] | None:
    try:
        answer = account.call(
            "cloudformation", "describe_stacks", f"cannot look at the stack {name}", StackName=name
        )
    except LaunchError as error:
        if code_of(error) == "ValidationError" and "does not exist" in str(error):
            return None
        raise
    found: dict[str, Any] = answer["Stacks"][0]
    return found


def _wait(
    account: Account,
    name: str,
    action: str,
    sleep: Callable[[float], None],
    clock: Callable[[], float],
) -> str | None:
    """Wait until nothing of the stack is under way; return its status then."""
    end = clock() + TIMEOUT
    while (status := read_status(account, name)) is not None and status.endswith("_IN_PROGRESS"):
        if clock() >= end:
            raise LaunchError(Exit.TIMEOUT, f"{action}: still {status} after {TIMEOUT:g} s")
        sleep(PAUSE)
    return status


def _find_failures(account: Account, name: str) -> list[str]:
    """Return why resources failed, the first cause first."""
    answer = account.call(
        "cloudformation", "describe_stack_events", "cannot read the stack's events", StackName=name
    )
    return [
        f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', 'no reason')}"
        for event in reversed(answer["StackEvents"])
        if event["ResourceStatus"].endswith("_FAILED")
        and "cancelled" not in event.get("ResourceStatusReason", "")
    ][:REASONS]
