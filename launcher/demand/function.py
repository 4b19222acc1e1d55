"""Answer webhook deliveries in a Lambda function, with the standard library alone.

GitHub waits for the cold start, so nothing is imported that this does not use: no AWS library, no
loop, no log library. Verifying and translating are the same code as everywhere.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from launcher.demand.delivery import Answer, Refused, Verifier
from launcher.demand.events import Malformed, make_answer, read_event
from launcher.demand.message import make_request
from launcher.demand.references import split_references, split_secrets
from launcher.demand.signed_call import Caller, CallFailed
from sidecar.aws import references
from sidecar.aws.references import parse_reference, pick_value
from sidecar.values import strip_quotes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeVar

    T = TypeVar("T")

    from launcher.demand.delivery import Demand

QUEUE_URL, SECRETS, ALLOW = "LAUNCHER_QUEUE_URL", "LAUNCHER_WEBHOOK_SECRETS", "LAUNCHER_ALLOW"
"""The function's settings, as in `launcher.settings`, which would import a library."""
ANSWER_WITHIN = 0.8
"""Seconds that the queue has."""
FIRST_READ = 5.0
"""Seconds for the first read of the secrets. GitHub waits for an answer for ten."""
KEPT = 300.0
"""Seconds for which secrets are kept: one that was replaced is accepted and refused after this."""
READ_AGAIN = 30.0
"""Seconds after which a delivery that no secret has signed makes the function read them again."""


class TooLate(CallFailed):
    """The call has not ended in time; it goes on, and nobody waits for it."""


class Log:
    """Writes events as the rest of the launcher does: one JSON object a line."""

    def __init__(self, write: Callable[[str], object], now: Callable[[], float]) -> None:
        self._write = write
        self._now = now

    def error(self, event: str, **facts: object) -> None:
        """Write one event."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._now()))
        line = {**facts, "event": event, "level": "error", "timestamp": stamp}
        self._write(json.dumps(line) + "\n")


log = Log(sys.stdout.write, time.time)


class Function:
    """The function. One is made for each container, and it is called for each delivery."""

    def __init__(
        self,
        environ: Mapping[str, str],
        caller: Caller | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        own = {name: strip_quotes(environ.get(name, "")) for name in (QUEUE_URL, SECRETS, ALLOW)}
        missing = [name for name in (QUEUE_URL, SECRETS) if not own[name]]
        if missing:
            raise ValueError("; ".join(f"{name} is missing" for name in missing))
        self._url = own[QUEUE_URL]
        self._references = split_references(own[SECRETS])
        self._allowed = split_references(own[ALLOW])
        self._caller = caller or Caller(environ)
        self._clock = clock
        self._verifier: Verifier | None = None
        self._read_at = 0.0

    def answer(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Answer one event of a function URL, an HTTP API or a load balancer."""
        return make_answer(event, self._answer(event))

    def _answer(self, event: Mapping[str, Any]) -> Answer:
        try:
            method, headers, body = read_event(event)
            if method != "POST":
                return Answer(405, "send a POST")
            demand = self._read(headers, body)
        except Malformed as error:
            return Answer(400, str(error))
        except Refused as refused:
            return refused.answer
        except CallFailed as error:
            log.error("webhook.failed", reason=f"cannot read {SECRETS}: {error}")  # noqa: TRY400
            return Answer(503, "the secrets cannot be read")
        return self._pass_on(demand)

    def _read(self, headers: Mapping[str, str], body: bytes) -> Demand:
        """Verify a delivery; the secrets are read again where none of them fits."""
        verifier = self._get_verifier(KEPT)
        try:
            return verifier.read(headers, body)
        except Refused as refused:
            if refused.answer.status != 401:
                raise
            again = self._get_verifier(READ_AGAIN)
            if again is verifier:
                raise
            return again.read(headers, body)

    def _get_verifier(self, kept: float) -> Verifier:
        """Return what verifies, with secrets that are `kept` seconds old at most.

        Secrets that cannot be read now leave the old ones in force.
        """
        now = self._clock()
        if self._verifier is not None and now - self._read_at < kept:
            return self._verifier
        try:
            # The first read may take longer: without secrets every delivery would be lost.
            seconds = FIRST_READ if self._verifier is None else ANSWER_WITHIN / 2
            secrets = run_within(seconds, self._read_secrets)
        except CallFailed as error:
            if self._verifier is None:
                raise
            log.error("secret.kept", setting=SECRETS, reason=str(error))  # noqa: TRY400
            self._read_at = now
            return self._verifier
        self._verifier, self._read_at = Verifier(secrets, self._allowed), now
        return self._verifier

    def _read_secrets(self) -> list[str]:
        return [secret for each in self._references for secret in self._read_secret(each)]

    def _read_secret(self, text: str) -> list[str]:
        try:
            reference = parse_reference(text)
        except ValueError as error:
            raise CallFailed(f"a reference {error}") from None
        name, region = reference.name, reference.region
        match reference.kind:
            case references.SSM:
                wanted = {"Name": name, "WithDecryption": True}
                answer = self._caller.call("ssm", "GetParameter", wanted, region)
                found = answer.get("Parameter", {}).get("Value", "")
            case references.SECRETS_MANAGER:
                wanted = {"SecretId": name, **reference.version_arguments}
                answer = self._caller.call("secretsmanager", "GetSecretValue", wanted, region)
                found = answer.get("SecretString", "")
            case references.FILE:
                found = _read_file(name)
            case _:
                return [text]
        try:
            secrets = split_secrets(pick_value(strip_quotes(str(found)), reference.key))
        except ValueError as error:
            raise CallFailed(f"what {name} holds {error}") from None
        if not secrets:
            raise CallFailed(f"{reference.kind}:{name} holds no secret")
        return secrets

    def _pass_on(self, demand: Demand) -> Answer:
        """Send it, and answer in time whether SQS answers or not."""
        try:
            run_within(ANSWER_WITHIN, lambda: self._send(demand))
        except TooLate:
            log.error("webhook.failed", job=demand.job_id, reason="the queue does not answer")  # noqa: TRY400
            return Answer(503, "the queue does not answer")
        except CallFailed as error:
            reason = f"{error} (needs sqs:SendMessage; {QUEUE_URL})"
            log.error("webhook.failed", job=demand.job_id, reason=reason)  # noqa: TRY400
            return Answer(503, "the queue does not take it")
        return Answer(202, f"{demand.action}: job {demand.job_id}")

    def _send(self, demand: Demand) -> None:
        """Send it, once more after an error."""
        request = make_request(self._url, demand.to_json())
        try:
            self._caller.call("sqs", "SendMessage", request)
        except CallFailed:
            self._caller.call("sqs", "SendMessage", request)


def _read_file(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123  pathlib takes long to import
            return file.read()
    except (OSError, ValueError) as error:
        raise CallFailed(f"cannot read {path}: {type(error).__name__}") from error


def run_within(seconds: float, work: Callable[[], T]) -> T:
    """Run `work` for `seconds` at most. Raises CallFailed; TooLate where it goes on by itself.

    A socket has a deadline for each of its waits, and the look-up of a name has none; a thread can
    be left alone.
    """
    outcome: list[tuple[T | None, CallFailed | None]] = []

    def run() -> None:
        try:
            outcome.append((work(), None))
        except CallFailed as error:
            outcome.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        raise TooLate("no answer from AWS in time")
    value, failed = outcome[0]
    if failed is not None:
        raise failed
    return value  # type: ignore[return-value]  # there is one where nothing failed
