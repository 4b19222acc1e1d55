"""The outcome of every call of the signed API that fails: each call, each way to fail.

`docs/failures.md` is written from this table too. tests/failures plays the cells with the
launcher's real code, from the request to the end of the runner.
"""

from __future__ import annotations

from docs.failures import Cell, Row, Section
from docs.failures_launcher import FAULTS, outcomes

TAKEN = Cell("200")
AGAIN = Cell("503", "order.failed")
UNPROVED = Cell("503")
NO_KEYS = Cell("503", "keys.failed")
"""Keys that were fetched before would still do, for a day."""


def answers(
    lasting: Cell, never: Cell = AGAIN, usual: Cell = TAKEN, **more: Cell
) -> dict[str, Cell]:
    """Return the answer at each fault: where it lasts, where nobody answers, where it passes."""
    return outcomes(lasting, never, usual, **more)


ORDERS = (
    Row(
        "GitHub OIDC keys",
        "order",
        "oidc",
        {"method": "GET", "path": "/.well-known/jwks$"},
        answers(NO_KEYS, NO_KEYS, NO_KEYS, reset=TAKEN, lost=TAKEN),
    ),
    Row(
        "GitHub installation repositories",
        "order-garo",
        "github",
        {"method": "GET", "path": "/installation/repositories"},
        answers(Cell("403", "order.refused"), UNPROVED, UNPROVED, reset=TAKEN, lost=TAKEN),
    ),
    Row(
        "GitHub get repository",
        "order-garo-personal",
        "github",
        {"method": "GET", "path": "/repos/[^/]+/[^/]+$"},
        answers(Cell("403", "order.refused"), UNPROVED, UNPROVED, reset=TAKEN, lost=TAKEN),
    ),
    Row(
        "STS AssumeRole",
        "order-account",
        "sts",
        {"target": "AssumeRole"},
        answers(Cell("502", "order.failed")),
    ),
    Row(
        "DynamoDB TransactWriteItems",
        "order",
        "dynamodb",
        {"target": "TransactWriteItems"},
        answers(Cell("502", "order.failed")),
    ),
    Row(
        "ECS RunTask",
        "order",
        "ecs",
        {"target": "RunTask"},
        answers(Cell("503", "task.refused")),
    ),
    Row(
        "EC2 RunInstances",
        "order-machine",
        "ec2",
        {"target": "RunInstances"},
        answers(Cell("503", "task.refused")),
    ),
    Row(
        "SSM PutParameter",
        "order",
        "aws",
        {"target": "PutParameter"},
        # The task is there: the next request for the order, or the service, goes on with it.
        answers(Cell("200", "token.delayed"), Cell("200", "token.delayed")),
    ),
)
UNDONE = Cell("200")
NOT_UNDONE = Cell("200", "cleanup.failed")
STOPS = (
    Row(
        "EC2 TerminateInstances",
        "stop-machine",
        "ec2",
        {"target": "TerminateInstances"},
        answers(NOT_UNDONE, NOT_UNDONE, UNDONE, _404=UNDONE),
    ),
)
SECTIONS = (
    Section("Calls of the signed API: `POST /start`", FAULTS, ORDERS),
    Section("Calls of the signed API: `POST /stop`", FAULTS, STOPS),
)
MEANINGS = {
    "200": "the order is taken, and comes to its runner or to its end by itself",
    "502, 503, 403 of the API": "nothing is known to be started; asked again when the fault is "
    "gone, it answers 200, and one runner comes",
}
"""The meaning of these sections' words: they are the first answer to the caller."""
