"""Verify a webhook delivery of GitHub's, and translate `workflow_job` into a demand.

Nothing here needs a web server, a loop or a library, so that a Lambda function starts fast. Source:
GitHub, "Validating webhook deliveries" and the webhook event `workflow_job`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from launcher.demand.order import Order
from sidecar.values import LABEL_LENGTH

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LARGEST = 25 * 1024 * 1024
"""Bytes of a payload, at most (GitHub, "Webhook events and payloads")."""
SHORTEST_SECRET = 8
QUEUED, WAITING, IN_PROGRESS, COMPLETED = "queued", "waiting", "in_progress", "completed"
ACTIONS = (QUEUED, WAITING, IN_PROGRESS, COMPLETED)
MOST_LABELS = 100
_SIGNATURE = re.compile(r"sha256=([0-9a-f]{64})")
_DELIVERY = re.compile(r"[0-9A-Za-z-]{1,64}")
_NUMBER = re.compile(r"[0-9]{1,20}")
_REPOSITORY = re.compile(r"[A-Za-z0-9_-]{1,100}/[A-Za-z0-9._-]{1,100}")
_LARGEST_ID = 2**63
_LONGEST_TEXT = 255


@dataclass(frozen=True, slots=True)
class Demand:
    """The facts of one `workflow_job` delivery."""

    action: str
    """One of ACTIONS. A `queued` whose job still waits for an approval is WAITING."""
    delivery: str
    """GitHub's id of the delivery; one that is sent again keeps it."""
    repository: str
    """`owner/name`."""
    repository_id: int
    organization: str | None
    enterprise: str | None
    installation: int | None
    job_id: int
    run_id: int
    run_attempt: int
    labels: tuple[str, ...]
    conclusion: str | None = None
    runner_id: int | None = None
    runner_name: str | None = None
    runner_group: str | None = None
    job_name: str | None = None
    workflow: str | None = None
    head_branch: str | None = None
    """Of a fork it may be "main": no policy may rely on it."""
    created_at: str | None = None
    app: str | None = None
    """The number of the App whose webhook it is; of a repository's own webhook None."""
    order: Order | None = None
    """The order of a caller of the API; then there is no job, and the job's number is 0."""

    @property
    def owner(self) -> str:
        """Return the owner of the repository."""
        return self.repository.partition("/")[0]

    @property
    def is_warm(self) -> bool:
        """Whether it stands for a warm runner, and not for a job: no job has the number 0."""
        return self.job_id == 0 and self.order is None

    def to_json(self) -> str:
        """Return it as a queue's message."""
        values = {name: getattr(self, name) for name in _NAMES}  # asdict takes three times as long
        values["order"] = self.order.to_dict() if self.order is not None else None
        return json.dumps(values, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Demand:
        """Read a message; keys that a newer version added are left out. Raises ValueError."""
        found = json.loads(text)
        if not isinstance(found, dict) or not isinstance(found.get("labels"), list):
            raise ValueError("the message is no demand")  # noqa: TRY004  a value of the sender's
        values = {key: value for key, value in found.items() if key in _NAMES}
        order = values.pop("order", None)
        try:
            values["order"] = Order.from_dict(order) if isinstance(order, dict) else None
            return cls(**{**values, "labels": tuple(map(str, found["labels"]))})
        except TypeError as error:
            raise ValueError("the message is no demand") from error


_NAMES = tuple(field.name for field in fields(Demand))


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a delivery."""

    status: int
    text: str


class Refused(Exception):
    """The delivery is answered without a demand."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.answer = Answer(status, text)


class Verifier:
    """Verifies deliveries.

    `secrets` are all accepted, so that one can be replaced without a gap. `allowed` are owners or
    `owner/name`; an empty list allows all.
    """

    def __init__(self, secrets: Iterable[str], allowed: Iterable[str] = ()) -> None:
        self._secrets: tuple[bytes, ...] = ()
        self.replace_secrets(secrets)
        self._allowed = frozenset(map(str.lower, allowed))

    def replace_secrets(self, secrets: Iterable[str]) -> None:
        """Accept these secrets from now on, and no others."""
        found = tuple(secret.encode() for secret in secrets)
        if not found or min(map(len, found)) < SHORTEST_SECRET:
            message = f"cannot verify webhooks: each secret needs {SHORTEST_SECRET} bytes or more"
            raise ValueError(message)
        self._secrets = found

    def read(self, headers: Mapping[str, str], body: bytes) -> Demand:
        """Verify and translate a delivery. Raises Refused, which holds the answer."""
        if len(body) > LARGEST:
            raise Refused(413, f"the payload has more than {LARGEST} bytes")
        if not is_signed(self._secrets, headers.get("x-hub-signature-256", ""), body):
            raise Refused(401, "the signature is missing or wrong")
        demand = translate(headers, body)
        if not self._allowed.isdisjoint({demand.owner.lower(), demand.repository.lower()}):
            return demand
        if self._allowed:
            raise Refused(403, "the repository is not in the allow list")
        return demand


def is_signed(secrets: Iterable[bytes], signature: str, body: bytes) -> bool:
    """Say whether one of the secrets signed these bytes; it takes as long whichever it is."""
    found = _SIGNATURE.fullmatch(signature)
    if not found:
        return False
    signed = bytes.fromhex(found[1])
    matches = [
        hmac.compare_digest(hmac.digest(secret, body, hashlib.sha256), signed) for secret in secrets
    ]
    return any(matches)


def translate(headers: Mapping[str, str], body: bytes) -> Demand:
    """Translate a verified delivery. Raises Refused where there is nothing to do, and why."""
    kind = headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refused(415, "the webhook's content type must be application/json")
    event = headers.get("x-github-event", "")
    if event == "ping":
        raise Refused(200, "pong")
    if event != "workflow_job":
        raise Refused(200, "ignored: only the event workflow_job is of use")
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(400, "the payload is not JSON") from None
    # The signature does not cover the headers: the body has to say that it is of this event.
    job = payload.get("workflow_job") if isinstance(payload, dict) else None
    if not isinstance(job, dict):
        raise Refused(400, "the payload has no workflow_job")
    if payload.get("action") not in ACTIONS:
        raise Refused(200, "ignored: the action is not known")
    return _read_demand(headers, payload, job)


def _read_demand(
    headers: Mapping[str, str], payload: dict[str, Any], job: dict[str, Any]
) -> Demand:
    repository = _table(payload, "repository")
    name = repository.get("full_name")
    if not isinstance(name, str) or not _REPOSITORY.fullmatch(name):
        raise Refused(400, "the payload names no repository")
    delivery = headers.get("x-github-delivery", "")
    return Demand(
        action=_read_action(payload, job),
        delivery=delivery if _DELIVERY.fullmatch(delivery) else "",
        repository=name,
        repository_id=_required_id(repository, "id"),
        organization=_text(_table(payload, "organization"), "login"),
        enterprise=_text(_table(payload, "enterprise"), "slug"),
        installation=_id(_table(payload, "installation"), "id"),
        job_id=_required_id(job, "id"),
        run_id=_required_id(job, "run_id"),
        run_attempt=_id(job, "run_attempt") or 1,
        labels=_read_labels(job),
        conclusion=_text(job, "conclusion"),
        runner_id=_id(job, "runner_id"),
        runner_name=_text(job, "runner_name"),
        runner_group=_text(job, "runner_group_name"),
        job_name=_text(job, "name"),
        workflow=_text(job, "workflow_name"),
        head_branch=_text(job, "head_branch"),
        created_at=_text(job, "created_at"),
        app=_read_app(headers),
    )


def _read_app(headers: Mapping[str, str]) -> str | None:
    """Read which App sends it. The header is not signed: it only says which one to try first."""
    if headers.get("x-github-hook-installation-target-type") != "integration":
        return None
    number = headers.get("x-github-hook-installation-target-id", "")
    return number if _NUMBER.fullmatch(number) else None


def _read_action(payload: dict[str, Any], job: dict[str, Any]) -> str:
    """Read the action. GitHub says `queued` also of a job that waits for an approval."""
    action = str(payload["action"])
    return WAITING if action == QUEUED and job.get("status") == WAITING else action


def _read_labels(job: dict[str, Any]) -> tuple[str, ...]:
    labels = job.get("labels")
    if not isinstance(labels, list) or len(labels) > MOST_LABELS:
        raise Refused(400, "the payload has no list of labels")
    for label in labels:
        if not isinstance(label, str) or len(label) > LABEL_LENGTH or not label.isprintable():
            raise Refused(200, "ignored: no runner can have one of the labels")
    return tuple(labels)


def _table(values: dict[str, Any], key: str) -> dict[str, Any]:
    found = values.get(key)
    return found if isinstance(found, dict) else {}


def _id(values: dict[str, Any], key: str) -> int | None:
    found = values.get(key)
    return found if type(found) is int and 0 < found < _LARGEST_ID else None


def _required_id(values: dict[str, Any], key: str) -> int:
    found = _id(values, key)
    if found is None:
        raise Refused(400, f"the payload has no {key}")
    return found


def _text(values: dict[str, Any], key: str) -> str | None:
    """Read text that only people read; what could move a terminal's cursor is left out."""
    found = values.get(key)
    return found[:_LONGEST_TEXT] if isinstance(found, str) and found.isprintable() else None
