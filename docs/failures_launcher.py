"""The outcome of every call of the launcher that fails: each call, each way to fail.

`docs/failures.md` is written from this table too. tests/failures plays each cell with the
launcher's real code.
"""

from __future__ import annotations

from docs.failures import Cell, Row, Section

FAULTS = {
    "time-out": "the first try is never answered, and not carried out",
    "reset": "the same, and the connection is reset",
    "lost": "the first try is carried out, and its answer is lost",
    "malformed": "the first try is carried out, and its answer is a web page",
    "5xx": "the first two tries are answered by an error of the service",
    "throttle": "the first two tries are refused as too many requests",
    "403": "every try is refused",
    "404": "every try finds nothing",
    "never": "no try is ever answered",
}
"""Ways in which a call fails; `time-out` to `throttle` pass by themselves."""

RETRIED = Cell(0, "retry.scheduled")
UNHARMED = Cell(0)
REFUSED = Cell(12, "start.failed")
UNAVAILABLE = Cell(18, "start.failed")
NOT_BEGUN = Cell(12, "stop.failed")
NOT_REACHED = Cell(18, "stop.failed")


def outcomes(refused: Cell, never: Cell, usual: Cell = RETRIED, **others: Cell) -> dict[str, Cell]:
    """Return the outcome of each fault: of 403 and 404, of never, of all that have no name."""
    named = {"403": refused, "404": refused, "never": never}
    named |= {name.replace("_", "-").lstrip("-"): cell for name, cell in others.items()}
    return {fault: named.get(fault, usual) for fault in FAULTS}


def left(*what: str) -> Cell:
    """Return the outcome of a cleanup that could not do all."""
    return Cell(17, "cleanup.failed", what)


START = (
    Row(
        "ECS RunTask",
        "start",
        "ecs",
        {"target": "RunTask"},
        # Nobody knows whether the task was started: the log names the launch.
        outcomes(REFUSED, left("request")),
    ),
    Row(
        "ECS DescribeTasks",
        "start",
        "ecs",
        {"target": "DescribeTasks"},
        # Task and token are gone; nobody saw the task end, so its runner may still come.
        outcomes(left("runner"), UNAVAILABLE),
    ),
    Row(
        "SSM PutParameter",
        "start",
        "aws",
        {"target": "PutParameter"},
        # After a lost answer the agent may have read and deleted it: it is not written again.
        outcomes(REFUSED, UNAVAILABLE, malformed=UNHARMED),
    ),
    Row(
        "SSM GetParameter (of a token)",
        "repeat",
        "aws",
        {"target": "GetParameter"},
        # Without a token the runner's name says that an earlier process has handed one over.
        outcomes(REFUSED, UNAVAILABLE, _404=UNHARMED, malformed=UNHARMED),
    ),
    Row(
        "GitHub generate-jitconfig",
        "start",
        "github",
        {"method": "POST", "path": "generate-jitconfig$"},
        # The runner whose configuration was lost is deleted; the next one has another name.
        outcomes(
            REFUSED,
            UNAVAILABLE,
            lost=Cell(0, "runner.deleted"),
            malformed=Cell(0, "runner.deleted"),
        ),
    ),
    Row(
        "GitHub registration-token",
        "start-token",
        "github",
        {"method": "POST", "path": "registration-token$"},
        outcomes(REFUSED, UNAVAILABLE),
    ),
    Row(
        "GitHub get runner",
        "start",
        "github",
        {"method": "GET", "path": "actions/runners/\\d+$"},
        outcomes(
            REFUSED,
            UNAVAILABLE,
            reset=UNHARMED,
            lost=UNHARMED,
            _404=Cell(15, "start.failed"),  # it is waited for until the time-out
        ),
    ),
    Row(
        "GitHub list runners",
        "start-token",
        "github",
        {"method": "GET", "path": "actions/runners\\?"},
        # Its task is left running as well: nobody knows whether the runner has a job.
        outcomes(left("runner"), left("runner"), reset=UNHARMED, lost=UNHARMED),
    ),
    Row(
        "GitHub installation",
        "start-app",
        "github",
        {"method": "GET", "path": "/installation$"},
        outcomes(REFUSED, left("runner"), reset=UNHARMED, lost=UNHARMED),
    ),
    Row(
        "GitHub access_tokens",
        "start-app",
        "github",
        {"method": "POST", "path": "/access_tokens$"},
        outcomes(REFUSED, left("runner")),
    ),
    Row(
        "SSM GetParameter (of a secret)",
        "start-ssm",
        "aws",
        {"target": "GetParameter"},
        outcomes(REFUSED, REFUSED),
    ),
    Row(
        "Secrets Manager GetSecretValue",
        "start-secretsmanager",
        "aws",
        {"target": "GetSecretValue"},
        outcomes(REFUSED, REFUSED),
    ),
)
STOP = (
    Row(
        "ECS ListTasks",
        "stop",
        "ecs",
        {"target": "ListTasks"},
        outcomes(NOT_BEGUN, NOT_REACHED),
    ),
    Row(
        "SSM DescribeParameters",
        "stop",
        "aws",
        {"target": "DescribeParameters"},
        outcomes(NOT_BEGUN, NOT_REACHED),
    ),
    Row(
        "GitHub find runner",
        "stop",
        "github",
        {"method": "GET", "path": "actions/runners\\?"},
        # The task runs on: its runner may have a job.
        outcomes(left("runner"), left("runner"), reset=UNHARMED, lost=UNHARMED),
    ),
    Row(
        "GitHub delete runner",
        "stop",
        "github",
        {"method": "DELETE", "path": "actions/runners/\\d+$"},
        outcomes(left("runner"), left("runner"), reset=UNHARMED, lost=UNHARMED, _404=UNHARMED),
    ),
    Row(
        "ECS StopTask",
        "stop",
        "ecs",
        {"target": "StopTask"},
        outcomes(left("task"), left("task"), malformed=UNHARMED),
    ),
    Row(
        "SSM DeleteParameter",
        "stop",
        "aws",
        {"target": "DeleteParameter"},
        outcomes(left("token"), left("token"), _404=UNHARMED, malformed=UNHARMED),
    ),
)


def serves(waits: str, **others: Cell) -> dict[str, Cell]:
    """Return the outcome of each fault for a queued job: it is served, or waits with an event."""
    lasting = Cell("waits", waits)
    return outcomes(lasting, others.pop("never", lasting), Cell("served"), **others)


GOES_ON = Cell("served", "job.unknown")
NOT_TAKEN = Cell("503", "webhook.failed")
UNDONE = Cell("undone")
UNREAD = Cell("served", "console.unread")
WORK = (
    Row(
        "SQS SendMessage (of the webhook)",
        "work",
        "sqs",
        {"target": "SendMessage"},
        # GitHub has the delivery as failed, and sends it again when it is asked to.
        outcomes(NOT_TAKEN, NOT_TAKEN, Cell("served"), time_out=NOT_TAKEN),
    ),
    Row(
        "SQS SendMessage (of the worker)",
        "work",
        "sqs",
        {"target": "SendMessage", "skip": 1},
        # What cannot be put off is left where it is, and comes again.
        serves("message.failed"),
    ),
    Row(
        "SQS ReceiveMessage",
        "work",
        "sqs",
        {"target": "ReceiveMessage"},
        serves("queue.failed"),
    ),
    Row(
        "SQS DeleteMessage",
        "work",
        "sqs",
        {"target": "DeleteMessage"},
        serves("message.failed"),
    ),
    Row(
        "DynamoDB GetItem",
        "work",
        "dynamodb",
        {"target": "GetItem"},
        serves("message.failed"),
    ),
    Row(
        "DynamoDB UpdateItem",
        "work",
        "dynamodb",
        {"target": "UpdateItem"},
        serves("message.failed"),
    ),
    Row(
        "DynamoDB TransactWriteItems",
        "work",
        "dynamodb",
        {"target": "TransactWriteItems"},
        serves("message.failed"),
    ),
    Row(
        "GitHub get run",
        "work",
        "github",
        {"method": "GET", "path": "/actions/runs/\\d+$"},
        # Nobody is admitted whom the policy cannot judge.
        serves("demand.unknown", never=Cell("waits", "message.put_off")),
    ),
    Row(
        "GitHub get job",
        "work-late",
        "github",
        {"method": "GET", "path": "/actions/jobs/\\d+$"},
        # A runner too many is better than none.
        serves("", _403=GOES_ON, _404=GOES_ON, never=GOES_ON),
    ),
    Row(
        "ECS RunTask",
        "work",
        "ecs",
        {"target": "RunTask"},
        serves("task.refused", never=Cell("waits", "message.failed")),
    ),
    Row(
        "ECS DescribeTasks",
        "work",
        "ecs",
        {"target": "DescribeTasks"},
        serves("message.failed"),
    ),
    Row(
        "SSM PutParameter",
        "work",
        "aws",
        {"target": "PutParameter"},
        serves("token.delayed"),
    ),
    Row(
        "GitHub generate-jitconfig",
        "work",
        "github",
        {"method": "POST", "path": "generate-jitconfig$"},
        serves("token.delayed"),
    ),
    Row(
        "GitHub registration-token",
        "work-token",
        "github",
        {"method": "POST", "path": "registration-token$"},
        serves("token.delayed"),
    ),
    Row(
        "GitHub installation",
        "work-app",
        "github",
        {"method": "GET", "path": "/installation$"},
        serves("demand.unknown", never=Cell("waits", "message.put_off")),
    ),
    Row(
        "GitHub access_tokens",
        "work-app",
        "github",
        {"method": "POST", "path": "/access_tokens$"},
        serves("demand.unknown", never=Cell("waits", "message.put_off")),
    ),
    Row(
        "SSM GetParameter (of a secret)",
        "work-ssm",
        "aws",
        {"target": "GetParameter"},
        serves("message.failed"),
    ),
    Row(
        "Secrets Manager GetSecretValue",
        "work-secretsmanager",
        "aws",
        {"target": "GetSecretValue"},
        serves("message.failed"),
    ),
)
WORK_ON_MACHINES = (
    Row(
        "EC2 RunInstances",
        "work-machine",
        "ec2",
        {"target": "RunInstances"},
        serves("task.refused", never=Cell("waits", "message.failed")),
    ),
    Row(
        "EC2 CreateFleet",
        "work-fleet",
        "ec2",
        {"target": "CreateFleet"},
        serves("task.refused", never=Cell("waits", "message.failed")),
    ),
    Row(
        "EC2 DescribeLaunchTemplateVersions",
        "work-fleet",
        "ec2",
        {"target": "DescribeLaunchTemplateVersions"},
        serves("task.refused", never=Cell("waits", "message.failed")),
    ),
    Row(
        "EC2 DescribeInstances",
        "work-machine",
        "ec2",
        {"target": "DescribeInstances"},
        serves("message.failed"),
    ),
    Row(
        "EC2 GetConsoleOutput",
        "work-machine",
        "ec2",
        {"target": "GetConsoleOutput"},
        # Without it the agent's exit code is not known: the job's state is asked for.
        serves("", _403=UNREAD, _404=Cell("served"), never=UNREAD),
    ),
)
NOT_UNDONE = Cell("waits", "cleanup.failed")
CANCELLED = (
    Row(
        "GitHub find runner",
        "work-cancel",
        "github",
        {"method": "GET", "path": "actions/runners\\?"},
        outcomes(NOT_UNDONE, NOT_UNDONE, UNDONE),
    ),
    Row(
        "GitHub delete runner",
        "work-cancel",
        "github",
        {"method": "DELETE", "path": "actions/runners/\\d+$"},
        outcomes(NOT_UNDONE, NOT_UNDONE, UNDONE, _404=UNDONE),
    ),
    Row(
        "ECS StopTask",
        "work-cancel",
        "ecs",
        {"target": "StopTask"},
        outcomes(NOT_UNDONE, NOT_UNDONE, UNDONE),
    ),
    Row(
        "EC2 TerminateInstances",
        "work-machine-cancel",
        "ec2",
        {"target": "TerminateInstances"},
        outcomes(NOT_UNDONE, NOT_UNDONE, UNDONE, _404=UNDONE),
    ),
    Row(
        "SSM DeleteParameter",
        "work-cancel",
        "aws",
        {"target": "DeleteParameter"},
        outcomes(NOT_UNDONE, NOT_UNDONE, UNDONE, _404=UNDONE),
    ),
)
SECTIONS = (
    Section("Calls of the launcher: `runner-launcher start`", FAULTS, START),
    Section("Calls of the launcher: `runner-launcher stop`", FAULTS, STOP),
    Section("Calls of the launcher: a queued job, from its webhook to its end", FAULTS, WORK),
    Section("Calls of the launcher: a queued job on a machine", FAULTS, WORK_ON_MACHINES),
    Section(
        "Calls of the launcher: a job that is cancelled while its task starts", FAULTS, CANCELLED
    ),
)
MEANINGS = {
    "served": "the job gets its runner",
    "waits": "the message comes again until the fault is gone; then the job is served",
    "503": "GitHub is told that the delivery failed; sent again, it is served",
    "undone": "task or machine, token and runner are gone",
}
"""The meaning of the words in the last three sections: there is no exit code."""
