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
    """What `runner-launcher explain` says first; empty where that is not known yet."""


CAUSES = (
    Cause("wrong webhook secret", launcher="wrong-webhook-secret"),
    Cause("App without the event", launcher="app-without-event"),
    Cause("App without a permission", "app-without-permission", "app-without-permission"),
    Cause("suspended installation", "app-suspended", "installation-suspended"),
    Cause("wrong App key", "key-of-another-app", "wrong-app-key"),
    Cause("PassRole on the execution role missing", launcher="pass-role-execution"),
    Cause("PassRole on the task role missing", launcher="pass-role-task"),
    Cause("private subnet without an exit", "github-is-silent", "no-way-out"),
    Cause("security group without egress", "github-is-silent", "no-egress"),
    Cause("image that is not there", launcher="no-such-image"),
    Cause("revision INACTIVE", launcher="revision-inactive"),
    Cause("runner group not visible to the repository", launcher="group-not-visible"),
    Cause("name taken", launcher="name-taken"),
    Cause("KMS key forbidden", "key-may-not-be-used", "key-forbidden"),
    Cause("vCPU quota", launcher="quota-too-small"),
    Cause("capacity gone"),
    Cause("stopTimeout shorter than the budget", "short-stop-timeout", "stop-timeout-too-short"),
    Cause("clock off", "clock-is-off", "clock-is-off"),
    Cause("proxy that swallows", "proxy-swallows", "proxy-swallows"),
    Cause("health check that kills", launcher="health-check-kills"),
)
