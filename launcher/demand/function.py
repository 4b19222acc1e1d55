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
from launcher.demand.references import split_reference, split_references, split_secrets
from launcher.demand.signed_call import Caller, CallFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from launcher.demand.delivery import Demand

QUEUE_URL, SECRETS, ALLOW = "LAUNCHER_QUEUE_URL", "LAUNCHER_WEBHOOK_SECRETS", "LAUNCHER_ALLOW"
"""The function's settings, as in `launcher.settings`, which would import a library."""
ANSWER_WITHIN = 0.8
"""Seconds that the queue has."""
KEPT = 300.0
"""Seconds for which secrets are kept: one that was replaced is accepted and refused after this."""
READ_AGAIN = 30.0
"""Seconds after which a delivery that no secret has signed makes the function read them again."""


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
        missing = [name for name in (QUEUE_URL, SECRETS) if not environ.get(name, "").strip()]
        if missing:
            raise ValueError("; ".join(f"{name} is missing" for name in missing))
        self._url = environ[QUEUE_URL].strip()
        self._references = split_references(environ[SECRETS])
        self._allowed = split_references(environ.get(ALLOW, ""))
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
            secrets = [secret for each in self._references for secret in self._read_secret(each)]
        except CallFailed as error:
            if self._verifier is None:
                raise
            log.error("secret.kept", setting=SECRETS, reason=str(error))  # noqa: TRY400
            self._read_at = now
            return self._verifier
        self._verifier, self._read_at = Verifier(secrets, self._allowed), now
        return self._verifier

    def _read_secret(self, reference: str) -> list[str]:
        kind, name = split_reference(reference)
        match kind:
            case "ssm":
                wanted = {"Name": name, "WithDecryption": True}
                answer = self._caller.call("ssm", "GetParameter", wanted)
                found = answer.get("Parameter", {}).get("Value", "")
            case "secretsmanager":
                wanted = {"SecretId": name}
                answer = self._caller.call("secretsmanager", "GetSecretValue", wanted)
                found = answer.get("SecretString", "")
            case "file":
                with open(name, encoding="utf-8") as file:  # noqa: PTH123  pathlib is not imported
                    found = file.read()
            case _:
                return [reference]
        secrets = split_secrets(str(found))
        if not secrets:
            raise CallFailed(f"{kind}:{name} holds no secret")
        return secrets

    def _pass_on(self, demand: Demand) -> Answer:
        """Send it, and answer in time whether SQS answers or not.

        A socket has a deadline for each of its waits, and the look-up of a name has none; a thread
        can be left alone.
        """
        outcome: list[str] = []
        sending = threading.Thread(target=self._send, args=(demand, outcome), daemon=True)
        sending.start()
        sending.join(ANSWER_WITHIN)
        if not outcome:
            log.error("webhook.failed", job=demand.job_id, reason="the queue does not answer")
            return Answer(503, "the queue does not answer")
        if outcome[0]:
            log.error("webhook.failed", job=demand.job_id, reason=outcome[0])
            return Answer(503, "the queue does not take it")
        return Answer(202, f"{demand.action}: job {demand.job_id}")

    def _send(self, demand: Demand, outcome: list[str]) -> None:
        """Send it, once more after an error; put the reason why it failed into `outcome`."""
        request = make_request(self._url, demand.to_json())
        reason = ""
        for _ in range(2):
            try:
                self._caller.call("sqs", "SendMessage", request)
            except CallFailed as error:
                reason = f"{error} (needs sqs:SendMessage; {QUEUE_URL})"
            else:
                outcome.append("")
                return
        outcome.append(reason)
