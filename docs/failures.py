"""The outcome of every call that fails: each call, each way to fail.

`docs/failures.md` is written from this table and that of the launcher (`failures_launcher.py`).
tests/failures runs a whole life for each kind of cell, `make soak` for each cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

SERVICE_FAULTS = {
    "time-out": "the first answer never comes, but the request is carried out",
    "reset": "the same, and the connection is reset",
    "5xx": "the first two tries are answered 503",
    "throttle": "the first two tries are refused as too many requests",
    "malformed": "the first answer is a web page, and the request is carried out",
    "403": "every try is refused",
    "404": "every try finds nothing",
    "never": "no try is ever answered",
}


SPAWN_FAULTS = {
    "cannot": "the system starts no process",
    "crashes": "it dies of SIGABRT, or ends with its number",
    "fails": "it ends with exit code 3 and prints nothing",
    "never": "it does nothing, and never ends",
}
DOCKER_FAULTS = {
    "time-out": "the first answer never comes, but the request is carried out",
    "reset": "the same, and the connection is reset",
    "5xx": "the first two tries are answered 500",
    "malformed": "the first answer is a web page, and the request is carried out",
    "404": "every try finds nothing",
    "never": "no try is ever answered",
    "away": "the engine ends before it answers, and does not come back",
}
DISK_FAULTS = {
    "full": "no space is left",
    "read-only": "the file system is read-only",
    "broken": "an input/output error",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """The end of a life: its exit code, an event that it logs, what is left."""

    exit: int | str
    """An exit code; of a message or a request, what becomes of it."""
    event: str = "life.ended"
    left: tuple[str, ...] = ()
    """What `cleanup.failed` names: killed agent, protection, runner, token."""


@dataclass(frozen=True, slots=True)
class Row:
    """One call, a life in which it is made, and the outcome of each fault."""

    call: str
    play: str
    """Which kind of life: see PLAYS in tests/failures."""
    where: str
    """The service (ssm, sts, ecs, imds, github, oidc, docker), or spawn, or disk."""
    match: Mapping[str, Any]
    """Which requests (method, path, target, skip), which command, or which path."""
    cells: Mapping[str, Cell]


@dataclass(frozen=True, slots=True)
class Section:
    """Calls that fail in the same ways."""

    title: str
    faults: Mapping[str, str]
    rows: tuple[Row, ...]


RETRIED = Cell(0, "retry.scheduled")
UNHARMED = Cell(0)
UNVERIFIED = Cell(0, "runner.removal_unverified")
NO_MACHINE = Cell(11, "", ("token",))
"""There is no life, and no log: the agent cannot know which parameter is its own."""


def outcomes(usual: Cell = RETRIED, **cells: Cell) -> dict[str, Cell]:
    """Return the outcome of every fault of a service; `usual` for those without a name."""
    named = {name.replace("_", "-").lstrip("-"): cell for name, cell in cells.items()}
    return {fault: named.get(fault, usual) for fault in SERVICE_FAULTS}


SERVICES = (
    Row(
        "SSM GetParameter",
        "job",
        "ssm",
        {"target": "GetParameter"},
        outcomes(
            _403=Cell(12, "life.failed"),
            never=Cell(12, "life.failed"),
            _404=Cell(12, "life.failed"),
        ),
    ),
    Row(
        "SSM DeleteParameter",
        "job",
        "ssm",
        {"target": "DeleteParameter"},
        outcomes(
            _403=Cell(17, "cleanup.failed", ("token",)),
            _404=UNHARMED,
            never=Cell(17, "cleanup.failed", ("token",)),
        ),
    ),
    Row(
        "STS AssumeRole",
        "job-role",
        "sts",
        {"target": "AssumeRole"},
        outcomes(
            # The job runs, and has no credentials at all.
            _403=Cell(0, "relay.credentials_delayed"),
            _404=Cell(0, "relay.credentials_delayed"),
            never=Cell(0, "relay.credentials_delayed"),
        ),
    ),
    Row(
        "STS AssumeRole (SIDECAR_ROLES)",
        "roles",
        "sts",
        {"target": "AssumeRole"},
        outcomes(
            # The job's hook waits; then the job runs without credentials, and its log says why.
            _403=Cell(0, "role.delayed"),
            _404=Cell(0, "role.delayed"),
            never=Cell(0, "role.delayed"),
        ),
    ),
    Row(
        "STS AssumeRoleWithWebIdentity",
        "oidc",
        "sts",
        {"target": "AssumeRoleWithWebIdentity"},
        outcomes(
            _403=Cell(0, "role.delayed"),
            _404=Cell(0, "role.delayed"),
            never=Cell(0, "role.delayed"),
        ),
    ),
    Row(
        "GitHub OIDC token",
        "oidc",
        "oidc",
        {"path": "^/token/"},
        outcomes(
            # The job goes on without credentials, and its log says why.
            _403=Cell(0, "role.denied"),
            _404=Cell(0, "role.denied"),
            never=Cell(0, "role.denied"),
        ),
    ),
    Row(
        "ECS credentials",
        "job",
        "ecs",
        {"path": "credentials"},
        outcomes(
            reset=UNHARMED,
            _403=Cell(12, "life.failed", ("token",)),
            _404=Cell(12, "life.failed", ("token",)),
            never=Cell(12, "life.failed", ("token",)),
        ),
    ),
    Row(
        "ECS metadata",
        "job",
        "ecs",
        {"path": "^/v4"},
        outcomes(
            Cell(0, "task.metadata_failed"),
            reset=UNHARMED,
        ),
    ),
    Row(
        "ECS statistics",
        "job",
        "ecs",
        {"path": "/task/stats$"},
        outcomes(
            # A sample is left out. A short job ends before a time-out does.
            Cell(0, "job.usage_unknown"),
            reset=UNHARMED,  # sent again at once
            time_out=UNHARMED,
            never=UNHARMED,
        ),
    ),
    Row(
        "ECS protection",
        "job",
        "ecs",
        {"method": "PUT", "path": "task-protection"},
        outcomes(
            Cell(0, "task.protection_failed"),
            reset=UNHARMED,
            time_out=UNHARMED,
        ),
    ),
    Row(
        "EC2 metadata token",
        "machine",
        "imds",
        {"method": "PUT", "path": "/latest/api/token$"},
        outcomes(UNHARMED, _403=NO_MACHINE, _404=NO_MACHINE, never=NO_MACHINE),
    ),
    Row(
        "EC2 instance id",
        "machine",
        "imds",
        {"path": "/meta-data/instance-id$"},
        outcomes(UNHARMED, _403=NO_MACHINE, _404=NO_MACHINE, never=NO_MACHINE),
    ),
    Row(
        "EC2 tags",
        "machine",
        "imds",
        {"path": "/meta-data/tags/instance/?$"},
        # A machine need not show its tags.
        outcomes(UNHARMED, _403=NO_MACHINE, never=NO_MACHINE),
    ),
    Row(
        "EC2 credentials",
        "machine",
        "imds",
        {"path": "security-credentials/instance$"},
        outcomes(
            UNHARMED,
            _403=Cell(12, "life.failed", ("token",)),
            _404=Cell(12, "life.failed", ("token",)),
            never=Cell(12, "life.failed", ("token",)),
        ),
    ),
    Row(
        "EC2 notices",
        "machine",
        "imds",
        {"path": "spot/instance-action$"},
        outcomes(
            # A page is no notice. A job may end before a time-out does.
            Cell(0, "spot.lookup_failed"),
            time_out=UNHARMED,
            reset=UNHARMED,
            _404=UNHARMED,
            never=UNHARMED,
        ),
    ),
    Row(
        "GitHub registration-token",
        "pat",
        "github",
        {"method": "POST", "path": "registration-token$"},
        outcomes(
            _403=Cell(12, "life.failed"),
            _404=Cell(12, "life.failed"),
            never=Cell(12, "life.failed"),
        ),
    ),
    Row(
        "GitHub generate-jitconfig",
        "jit",
        "github",
        {"method": "POST", "path": "generate-jitconfig$"},
        outcomes(
            _403=Cell(13, "life.failed"),
            _404=Cell(13, "life.failed"),
            never=Cell(13, "life.failed"),
        ),
    ),
    Row(
        "GitHub list runners",
        "lost",
        "github",
        {"method": "GET", "path": "actions/runners\\?"},
        outcomes(
            Cell(13, "life.failed"),
            _404=Cell(13, "life.failed", ("runner",)),
            _403=Cell(13, "life.failed", ("runner",)),
            never=Cell(13, "life.failed", ("runner",)),
        ),
    ),
    Row(
        "GitHub get runner",
        "pat",
        "github",
        {"method": "GET", "path": "actions/runners/\\d+$"},
        outcomes(
            reset=UNHARMED,
            _403=Cell(0, "runner.removal_unverified"),
            _404=UNHARMED,
            never=Cell(17, "cleanup.failed", ("runner",)),
        ),
    ),
    Row(
        "GitHub delete runner",
        "pat-idle",
        "github",
        {"method": "DELETE", "path": "actions/runners/\\d+$"},
        outcomes(
            reset=UNHARMED,
            _403=UNHARMED,
            _404=UNHARMED,
            never=Cell(0, "runner.deregistered"),  # by the next rung
        ),
    ),
    Row(
        "GitHub installation",
        "app",
        "github",
        {"method": "GET", "path": "/installation$"},
        outcomes(
            reset=UNHARMED,
            _403=Cell(12, "life.failed"),
            _404=Cell(12, "life.failed"),
            never=Cell(12, "life.failed"),
        ),
    ),
    Row(
        "GitHub access_tokens",
        "app",
        "github",
        {"method": "POST", "path": "/access_tokens$"},
        outcomes(
            _403=Cell(12, "life.failed"),
            _404=Cell(12, "life.failed"),
            never=Cell(12, "life.failed"),
        ),
    ),
    Row(
        "configure: registration",
        "job",
        "github",
        {"method": "POST", "path": "/runner-registration$"},
        outcomes(
            UNHARMED,
            time_out=RETRIED,
            _403=Cell(13, "life.failed"),
            _404=Cell(13, "life.failed"),
            malformed=RETRIED,
            never=Cell(13, "life.failed"),
        ),
    ),
    Row(
        "configure: pools",
        "job",
        "github",
        {"method": "GET", "path": "/distributedtask/pools(\\?|$)"},
        outcomes(
            reset=UNHARMED,
            _5xx=UNHARMED,  # the program repeats it silently
            _403=Cell(13, "life.failed", ("runner",)),
            _404=Cell(13, "life.failed", ("runner",)),
            never=Cell(13, "life.failed", ("runner",)),
        ),
    ),
    Row(
        "configure: agents",
        "job",
        "github",
        {"method": "GET", "path": "/agents\\?"},
        outcomes(
            reset=UNHARMED,
            _5xx=UNHARMED,  # the program repeats it silently
            _403=Cell(13, "life.failed", ("runner",)),
            _404=Cell(13, "life.failed", ("runner",)),
            never=Cell(13, "life.failed", ("runner",)),
        ),
    ),
    Row(
        "configure: add",
        "job",
        "github",
        {"method": "POST", "path": "/agents$"},
        outcomes(
            _5xx=UNHARMED,
            _403=Cell(13, "life.failed", ("runner",)),
            _404=Cell(13, "life.failed", ("runner",)),
            never=Cell(13, "life.failed", ("runner",)),
        ),
    ),
    Row(
        "configure: replace",
        "half",
        "github",
        {"method": "PUT", "path": "/agents/\\d+$"},
        outcomes(
            _403=Cell(13, "life.failed", ("runner",)),
            _404=Cell(13, "life.failed", ("runner",)),
            never=Cell(13, "life.failed", ("runner",)),
        ),
    ),
    Row(
        "gone: registration",  # after the job: does GitHub still know the runner?
        "job",
        "github",
        {"method": "POST", "path": "/runner-registration$", "skip": 1},
        outcomes(
            **{"5xx": UNVERIFIED, "throttle": UNVERIFIED},
            _403=UNHARMED,  # the runner's own key is asked instead
            _404=UNHARMED,
            never=Cell(17, "cleanup.failed", ("runner",)),
        ),
    ),
    Row(
        "gone: agents",
        "job",
        "github",
        {"method": "GET", "path": "/agents\\?", "skip": 1},
        outcomes(
            **{"5xx": UNVERIFIED, "throttle": UNVERIFIED},
            reset=UNHARMED,  # sent again at once
            _403=UNHARMED,
            _404=UNHARMED,
            never=UNVERIFIED,
        ),
    ),
    Row(
        "remove: registration",
        "idle",
        "github",
        {"method": "POST", "path": "/runner-registration$", "skip": 1},
        outcomes(
            _403=Cell(17, "cleanup.failed", ("runner",)),
            _404=Cell(17, "cleanup.failed", ("runner",)),
            never=Cell(17, "cleanup.failed", ("runner",)),
        ),
    ),
    Row(
        "remove: delete",
        "idle",
        "github",
        {"method": "DELETE", "path": "/agents/\\d+"},
        outcomes(
            reset=UNHARMED,
            _404=UNHARMED,
            _403=Cell(17, "cleanup.failed", ("runner",)),
            never=Cell(17, "cleanup.failed", ("runner",)),
        ),
    ),
)
NOT_REGISTERED = Cell(13, "life.failed")
NOT_RUN = Cell(15, "life.failed")
NOT_REMOVED = Cell(17, "cleanup.failed", ("runner",))
SPAWNS = (
    Row(
        "configure",
        "job",
        "spawn",
        {},
        dict.fromkeys(SPAWN_FAULTS, NOT_REGISTERED) | {"cannot": NOT_RUN},
    ),
    Row(
        "run",
        "job",
        "spawn",
        {},
        dict.fromkeys(SPAWN_FAULTS, NOT_RUN)
        | dict.fromkeys(("crashes", "fails"), Cell(15, "runner.ended"))
        | {"never": Cell(19, "runner.killed")},
    ),
    # The program is the last way, where the runner services fail.
    Row("remove", "program", "spawn", {}, dict.fromkeys(SPAWN_FAULTS, NOT_REMOVED)),
)


OBJECTS_LEFT = Cell(17, "cleanup.failed", ("containers",))
NOT_STARTED = Cell(0, "docker.request_refused")


def _ask(call: str, method: str, path: str, usual: Cell = UNHARMED, **cells: Cell) -> Row:
    named = {name.replace("_", "-").lstrip("-"): cell for name, cell in cells.items()}
    found = {fault: named.get(fault, usual) for fault in DOCKER_FAULTS}
    return Row(call, "docker", "docker", {"method": method, "path": path}, found)


DOCKER = (
    # Unknown: a volume is not taken for the job's, and stays.
    _ask("is there a volume of that name?", "GET", "^/volumes/data"),
    _ask(
        "what does a started container mount?",
        "GET",
        "^/containers/[0-9a-f]+/json",
        NOT_STARTED,
        reset=UNHARMED,  # sent again at once
        _404=UNHARMED,  # the engine refuses the start itself
        away=OBJECTS_LEFT,
    ),
    _ask(
        "which containers are left?",
        "GET",
        "^/containers/json",
        _404=OBJECTS_LEFT,
        never=OBJECTS_LEFT,
        away=OBJECTS_LEFT,
    ),
    _ask(
        "remove a container",
        "DELETE",
        "^/containers/",
        _404=OBJECTS_LEFT,
        never=OBJECTS_LEFT,
        away=OBJECTS_LEFT,
    ),
)


def _write(what: str, play: str, path: str, outcome: Cell) -> Row:
    return Row(what, play, "disk", {"path": path}, dict.fromkeys(DISK_FAULTS, outcome))


DISK = (
    _write("the agent's own folder", "job", "/.sidecar", NOT_RUN),
    _write("the state file", "job", "/.sidecar-memory", Cell(0, "runner.state_write_failed")),
    _write("a just-in-time runner's files", "jit", "/.credentials", NOT_RUN),
    _write(".setup_info", "job", "/.setup_info", Cell(0, "runner.setup_info_failed")),
    _write("job hooks", "job", "/job-", NOT_RUN),
)
SECTIONS = (
    Section("Calls of services", SERVICE_FAULTS, SERVICES),
    Section("Starts of the runner's program", SPAWN_FAULTS, SPAWNS),
    Section("Requests to the docker engine, in strict mode", DOCKER_FAULTS, DOCKER),
    Section("Writes to the disk", DISK_FAULTS, DISK),
)
