"""Twenty broken set-ups, and which command names the cause of each in its first failing line.

A column for each command: a key of its own table of wrong set-ups, or why it cannot tell. Both
doctors' tables are played by their tests; `explain` is of what has happened already.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cause:
    """A broken set-up."""

    title: str
    agent: str = ""
    """The key in `docs.setups`; empty where `runner-sidecar doctor` sees nothing of it."""
    launcher: str = ""
    """The key in `docs.launcher_setups`, likewise."""
    explain: str = ""
    """Words of the first failing line of `runner-launcher explain`, after its source and a colon.

    They stand in the line, or in what it says to change.

    tests/launches/test_explain_causes.py plays it. Empty where no test of a whole launch does.
    """
    unknown: str = ""
    """Why `explain` is not played, or what else shows it."""


CAUSES = (
    Cause(
        "wrong webhook secret",
        launcher="wrong-webhook-secret",
        explain="webhook: (401): the signature is missing or wrong",
    ),
    Cause(
        "App without the event",
        launcher="app-without-event",
        explain="webhook: is not subscribed to the event workflow_job",
    ),
    Cause(
        "App without a permission",
        "app-without-permission",
        "app-without-permission",
        explain="record: GitHub answers 403: Resource not accessible by integration",
    ),
    Cause(
        "suspended installation",
        "app-suspended",
        "installation-suspended",
        explain="github: This installation has been suspended",
    ),
    Cause(
        "wrong App key",
        "key-of-another-app",
        "wrong-app-key",
        explain="github: give the key that belongs to this App",
    ),
    Cause(
        "PassRole on the execution role missing",
        launcher="pass-role-execution",
        explain="record: needs iam:PassRole on arn:aws:iam::123456789012:role/execution",
    ),
    Cause(
        "PassRole on the task role missing",
        launcher="pass-role-task",
        explain="record: needs iam:PassRole on arn:aws:iam::123456789012:role/runner-task",
    ),
    Cause(
        "private subnet without an exit",
        "github-is-silent",
        "no-way-out",
        explain="ecs: there is no way out of the subnet or security group",
    ),
    Cause(
        "security group without egress",
        "github-is-silent",
        "no-egress",
        explain="ecs: there is no way out of the subnet or security group",
    ),
    Cause("image that is not there", launcher="no-such-image", explain="ecs: not found"),
    Cause(
        "revision INACTIVE",
        launcher="revision-inactive",
        explain="record: TaskDefinition is inactive",
    ),
    Cause(
        "runner group not visible to the repository",
        launcher="group-not-visible",
        explain="github: the runner group linux is not visible to octo/repo",
    ),
    Cause(
        "name taken",
        launcher="name-taken",
        unknown="nothing fails: the agent registers with a suffix, which is told, and the job runs",
    ),
    Cause(
        "KMS key forbidden",
        "key-may-not-be-used",
        "key-forbidden",
        explain="agent: KMS refuses to decrypt it",
    ),
    Cause(
        "vCPU quota", launcher="quota-too-small", explain="record: the limit on the number of vCPUs"
    ),
    Cause("capacity gone", explain="record: Capacity is unavailable"),
    Cause(
        "stopTimeout shorter than the budget",
        "short-stop-timeout",
        "stop-timeout-too-short",
        explain="ecs: let stopTimeout of the container be no shorter than SIDECAR_STOP_TIMEOUT",
    ),
    Cause(
        "clock off",
        "clock-is-off",
        "clock-is-off",
        explain="agent: this machine's clock is",
    ),
    Cause(
        "proxy that swallows",
        "proxy-swallows",
        "proxy-swallows",
        explain="agent: no network path to SSM by the proxy http://127.0.0.1",
    ),
    Cause(
        "health check that kills",
        launcher="health-check-kills",
        explain="ecs: failed container health checks",
    ),
)
