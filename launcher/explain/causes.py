"""Know what the words of AWS, GitHub and the agent mean, and say what to change.

One table: the first row whose pattern is found in a text gives the advice.
"""

from __future__ import annotations

import re

from sidecar.errors import Exit

WORKER_LATE = 120.0
"""Seconds after a delivery in which a worker has written a record, unless something is wrong."""

_SHAPE = tuple[re.Pattern[str], str]


def _row(pattern: str, advice: str) -> _SHAPE:
    return re.compile(pattern, re.IGNORECASE), advice


ADVICE: tuple[_SHAPE, ...] = (
    _row(
        r"machine's clock",
        "set the clock of the machine: chrony with 169.254.169.123, Amazon's time",
    ),
    _row(
        r"by the proxy http",
        "let the proxy answer, or name the host in NO_PROXY of the container",
    ),
    _row(
        r"no network path",
        "there is no way out of the subnet or security group, nor an endpoint: "
        "`runner-launcher doctor` tells which",
    ),
    _row(
        r"cannot assume .*(access denied|trust policy)",
        "let the role trust whoever proves the job, and the task role assume it: `runner-sidecar "
        "roles --trust-policy` writes both policies",
    ),
    _row(
        r"cannot assume .*(no answer|throttled|STS answers 5)",
        "STS did not answer in time: look at the way to it (an endpoint for sts), then run the job "
        "again",
    ),
    _row(
        r"lacks permissions: id-token",
        "give the workflow's job `permissions: id-token: write`, or the rule another proof",
    ),
    _row(
        r"SIDECAR_ROLES gives (a|no) role to",
        "let a [[job]] of SIDECAR_ROLES be for such jobs; `runner-sidecar roles` with the job's "
        "--repository, --event and --ref says why each rule is not",
    ),
    _row(
        r"installation has been suspended",
        "let an owner of the account resume the App's installation (Settings, GitHub Apps)",
    ),
    _row(
        r"JSON web token could not be decoded|Integration not found|_GITHUB_APP_KEY (is|holds)",
        "give the key that belongs to this App (LAUNCHER_GITHUB_APP_ID, LAUNCHER_GITHUB_APP_KEY)",
    ),
    _row(r"the App .* (is not installed|has no installation)", "install the App in the account"),
    _row(
        r"not accessible by integration",
        "give the App the permission in its settings, and let the owners of its accounts accept",
    ),
    _row(
        r"not accessible by personal access token|must have admin rights",
        "give the token the permission, or take one of somebody who has it (LAUNCHER_GITHUB_PAT)",
    ),
    _row(
        r"the name .* is taken",
        "remove that runner at GitHub, or take another LAUNCHER_NAME_PREFIX",
    ),
    _row(
        r"CannotPull.*(not found|manifest unknown|does not exist)",
        "the image or its tag is not there: look at `image` of the task definition",
    ),
    _row(
        r"CannotPull.*(denied|unauthorized|403|no basic auth)",
        "the execution role may not read the image's repository, or the registry wants a password",
    ),
    _row(
        r"CannotPull.*(timeout|timed out|dial tcp|i/o|deadline)",
        "there is no way out of the subnet or security group to the registry: both look alike "
        "here, and `runner-launcher doctor` tells which it is",
    ),
    _row(r"CannotPull", "look at `image`, the execution role, and the subnet's way out"),
    _row(
        r"ResourceInitializationError.*(secret|ssm|parameter|kms|asm)",
        "the execution role must read the secrets of the task definition, and the subnet reach "
        "Secrets Manager and SSM",
    ),
    _row(
        r"ResourceInitializationError.*(logger|log group|awslogs|cloudwatch)",
        "the log group must exist, and the execution role write to it",
    ),
    _row(
        r"ResourceInitializationError.*(ecr|pull)",
        "the subnet has no way to ECR: a NAT gateway, public_ip, or endpoints",
    ),
    _row(
        r"ResourceInitializationError",
        "ECS could not prepare the task: look at execution role, subnet, secrets and log group",
    ),
    _row(
        r"SpotInterruption|TerminationNotice|Server\.Spot",
        "AWS took the Spot capacity back: the launcher tries again; rerun_interrupted runs the "
        "job again",
    ),
    _row(
        r"health ?check|UNHEALTHY",
        "the task's health check killed it: look at its command, its startPeriod and its retries",
    ),
    _row(r"OutOfMemory|exit code 137", "the container had too little memory: give the task more"),
    _row(
        r"iam:PassRole", "let the launcher pass the task role and the execution role (iam:PassRole)"
    ),
    _row(r"TaskDefinition.*inactive|is inactive", "register a new revision of the task definition"),
    _row(
        r"vCPU|VcpuLimit|reached the limit|quota|LimitExceeded",
        "raise the account's quota (Service Quotas), or lower `maximum` of the pools",
    ),
    _row(
        r"capacity is unavailable|insufficient.*capacity|InsufficientInstanceCapacity|RESOURCE:",
        "AWS has no room now: add FARGATE or on-demand to `capacities`, or more subnets and types",
    ),
    _row(
        r"insufficient ?free ?addresses|free addresses",
        "the subnets have no free addresses: add larger ones",
    ),
    _row(
        r"AccessDenied|access denied|not authorized", "give the role the permission that it names"
    ),
    _row(
        r"kms:Decrypt",
        "let the task role decrypt with the parameter's key (kms:Decrypt; its key policy, too)",
    ),
    _row(r"needs [a-z0-9-]+:\w+", "give the role the permission that it needs"),
    _row(
        r"no runner is online after",
        "the task ran and its agent did not register in time: look at the agent's events",
    ),
    _row(
        r"went offline",
        "the agent stood still or lost GitHub: look at its last events and the network",
    ),
    _row(r"no token:", "GitHub or SSM refused the runner's token: the reason names what to change"),
    _row(
        r"no policy|needs Administration|needs Self-hosted runners|GitHub answers 40[134]",
        "look at the credential's permissions (LAUNCHER_GITHUB_APP_KEY, LAUNCHER_GITHUB_PAT)",
    ),
)

AGENT: dict[Exit, str] = {
    Exit.BUG: "a mistake in the agent: report it with the traceback in its log",
    Exit.SETTINGS: "a setting in the task definition or image is wrong: the agent's log names it",
    Exit.TOKEN: "the task could not read its token: task role (ssm:GetParameter, kms:Decrypt), "
    "parameter prefix, and the way to SSM",
    Exit.REGISTRATION: "GitHub refused the registration: the token was wrong or an hour old, or "
    "the name, group or URL is not accepted",
    Exit.RELAY: "the credentials' relay or the docker proxy could not start: see the agent's log",
    Exit.RUNNER: "the runner's program did not work: look at the image and its folders",
    Exit.DEPRECATED: "build a newer image: GitHub refuses this version of the runner",
    Exit.GHOST: "somebody removed the runner at GitHub before it had its job",
    Exit.CONFLICT: "another process has the runner's session: two tasks with one token",
    Exit.CANCELLED: "the task was stopped while the job ran: Spot, a deployment, or StopTask",
    Exit.DOCKER: "the docker daemon in the task did not start: privileged, storage, image",
    Exit.REFUSED: "the pool's policy did not admit the job that came, or its required role "
    "could not be had",
    Exit.IDLE: "no job came in time: GitHub gave it to another runner, or it was cancelled",
}
"""The change that helps after an exit code of the agent's."""


def explain(text: str) -> str:
    """Say what to change after a failure with this text; "" where nothing is known of it."""
    found = next((advice for pattern, advice in ADVICE if pattern.search(text)), "")
    return found or explain_exit(read_code(text))


def explain_exit(code: int | None) -> str:
    """Say what to change after an exit code of the agent's."""
    known = next((each for each in Exit if each == code), None)
    return AGENT.get(known, "") if known is not None else ""


def is_failure(code: int | None) -> bool:
    """Whether an exit code means that something went wrong; no code always does."""
    known = next((each for each in Exit if each == code), None)
    return known.failure if known is not None else True


def read_code(text: str) -> int | None:
    """Read the exit code that a reason of the record names."""
    found = re.search(r"exit code (\d{1,3})", text)
    return int(found[1]) if found else None
