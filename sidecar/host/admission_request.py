"""What a hook asks the agent before a job, and the answer: the same on both systems."""

from __future__ import annotations

ADMITTED = "admitted"
"""The answer that lets the job go on; any other is the reason of a refusal."""
NOTICE = f"{ADMITTED}: "
"""How an answer begins that lets the job go on, with a warning for its log."""
LONGEST_REQUEST = 64 * 1024
"""Bytes of a request; a longer one is not read to its end."""
LONGEST_VALUE = 1000
"""Length of one value in it. What is compared is shorter (LONGEST in `job_policy`)."""
LONG_NAMES = "ACTIONS_"
"""How the names begin of what is longer: GitHub's URL and token for OIDC."""
LONGEST_LONG = 8000
"""Length of one such value; a token that is cut is of no use."""
END = b"\0\0"
"""After the last `NAME=value`, each of which ends with a NUL: no variable can hold one."""
PATIENCE = 10
"""Seconds that a hook waits for the answer."""
SUMMARY_PATIENCE = 5
"""Seconds that the last hook waits for the job's summary."""
NO_ANSWER = f"the agent did not answer within {PATIENCE} s"
NOTICE_TITLE = "AWS credentials"
NO_CREDENTIALS = f"{NO_ANSWER}: this job has no credentials of AWS"
"""What the log of a job says that goes on without an answer."""
END_PATIENCE = 30
"""Seconds that a hook waits until the runner's worker ends it; then it kills the worker."""


def is_whole(received: bytes | bytearray) -> bool:
    """Whether these bytes are a request, or too many for one."""
    return END in received or len(received) > LONGEST_REQUEST


def parse_request(received: bytes | bytearray) -> dict[str, str] | None:
    """Return the variables of a request; None if it is too long."""
    if len(received) > LONGEST_REQUEST:
        return None
    pairs = received.partition(END)[0].decode(errors="replace").split("\0")
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}


def write_answer(answer: str) -> bytes:
    """Return the line with an answer."""
    return f"{answer[:LONGEST_VALUE]}\n".encode()
