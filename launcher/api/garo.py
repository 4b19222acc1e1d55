"""Translate a request of GARO's contract: alphagov/github-actions-runner-orchestration.

Its callers sign the raw body by HMAC-SHA512, with a token of GitHub's as the key, which they send
along. So the signature alone proves nothing: whoever has any token can make one. It ties the body
to the token; what the token may do GitHub is asked for (`proof`), and only for a repository,
account and external id that are listed.

Headers, fields and answers are GARO's. Where GARO took a time of the future, a replay, or any token
that reads the repository, this does not.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import string
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from launcher import identity
from launcher.api.answers import Refused
from launcher.api.choices import check_fitting, check_listed, choose
from launcher.api.native import Start, make_demand
from launcher.demand.order import Order
from launcher.pools.access import Requester

if TYPE_CHECKING:
    from collections.abc import Mapping

    from launcher.api.requests import Fields
    from launcher.pools.callers import GaroCaller
    from launcher.pools.pool import Pools

TOKEN, COMMIT, SIGNATURE = "x-github-token", "x-github-commitsha", "x-github-signature"
WINDOW = 30.0
"""Seconds that a request may be old, or its caller's clock ahead."""
FIELDS = {
    "subnet": "subnet",
    "security_group": "sg",
    "role": "instanceRoleArn",
    "image": "imageid",
    "type": "instanceType",
}
"""GARO's fields, by what they choose."""
LETTERS = 10
NAME = re.compile(r"github-runner-([a-z0-9]{1,20})-([a-z]{10})")
_TOKEN = re.compile(r"[A-Za-z0-9_.-]{20,1000}")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SIGNED = re.compile(r"[0-9a-fA-F]{128}")
_REPOSITORY = re.compile(r"[A-Za-z0-9_-]{1,100}/[A-Za-z0-9._-]{1,100}")
_TYPE = re.compile(r"[a-z0-9]{1,20}")
_LABELS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,49}(,[A-Za-z0-9_][A-Za-z0-9_-]{0,49}){0,9}")
_ACCOUNT = re.compile(r"[0-9]{12}")
_ANY = re.compile(r"[ -~]{1,1300}")


@dataclass(frozen=True, slots=True)
class Signed:
    """A request whose signature fits its token, and whose caller is listed."""

    caller: GaroCaller
    repository: str
    token: str
    digest: str
    """The signature as this side has calculated it: the other side's may be written otherwise."""

    @property
    def unique_id(self) -> str:
        """Return the ten letters that stand for what this request starts."""
        number, letters = int(self.digest, 16), []
        for _ in range(LETTERS):
            number, rest = divmod(number, len(string.ascii_lowercase))
            letters.append(string.ascii_lowercase[rest])
        return "".join(letters)


def verify(headers: Mapping[str, str], body: bytes) -> tuple[str, str]:
    """Return the token, and the signature that it makes for the body. Raises Refused."""
    token, given = headers.get(TOKEN, ""), headers.get(SIGNATURE, "")
    if not _TOKEN.fullmatch(token) or not _SIGNED.fullmatch(given):
        raise Refused(401, f"{TOKEN} or {SIGNATURE} is missing or has another form")
    if not _COMMIT.fullmatch(headers.get(COMMIT, "").lower()):
        raise Refused(401, f"{COMMIT} is missing or no commit")
    digest = hmac.digest(token.encode(), body, hashlib.sha512).hex()
    if not hmac.compare_digest(digest, given.lower()):
        raise Refused(401, "the signature is wrong")
    return token, digest


def read_signed(
    headers: Mapping[str, str], body: bytes, fields: Fields, pools: Pools, now: float
) -> Signed:
    """Verify a request, and find its caller. Raises Refused."""
    token, digest = verify(headers, body)
    if abs(now - fields.number("time")) > WINDOW:
        raise Refused(401, f"time is more than {WINDOW:g} s from now: see the clocks")
    repository = fields.text("repo", _REPOSITORY)
    account = fields.text("account_id", _ACCOUNT)
    external_id = fields.text("external_id", _ANY)
    for caller in pools.garo:
        known = caller.account.external_id.encode()
        is_same = hmac.compare_digest(known, external_id.encode())
        if caller.covers(repository) and caller.account.number == account and is_same:
            _check_region(fields, caller)
            return Signed(caller, repository, token, digest)
    raise Refused(403, "repo, account_id and external_id are not listed together")


def read_start(
    fields: Fields, signed: Signed, repository_id: int, pools: Pools, deployment: str
) -> Start:
    """Read a start, and check that this caller may have it. Raises Refused."""
    caller = signed.caller
    kind = fields.text("type", _TYPE, "spot")
    if kind not in caller.types:
        raise Refused(403, "type is not listed for this caller")
    labels = fields.optional_text("label", _LABELS)
    fields.number("timeout", 3600.0)  # the pool's own limits hold, whatever a caller wants
    chosen = choose(fields, caller.choices, FIELDS)
    dry_run = fields.flag("dryrun")
    fields.finish()
    pool = pools.by_name[caller.types[kind]]
    check_fitting(chosen, pool, FIELDS)
    # Neither event nor ref is known, so a pool whose policy needs them admits nobody.
    asking = Requester(signed.repository, None, signed.repository)
    if (reason := pool.access.refusal(asking)) is not None:
        raise Refused(403, f"type: {pool.name}: {reason}")
    more = tuple(labels.split(",")) if labels else ()
    order = Order(caller.name, caller.maximum, account=caller.account.number, **chosen)
    registered = tuple(dict.fromkeys((kind, signed.unique_id, *more)))
    demand = make_demand(order, signed.repository, repository_id, registered)
    id_ = make_id(deployment, signed, kind, signed.unique_id)
    return Start(id_, pool.name, demand, dry_run)


def read_name(fields: Fields, signed: Signed, deployment: str) -> tuple[str, str]:
    """Return the name that a request is about, and the id of its launch. Raises Refused."""
    name = fields.text("name", NAME)
    fields.finish()
    found = NAME.fullmatch(name)
    assert found is not None  # noqa: S101  its rule has just held
    return name, make_id(deployment, signed, found[1], found[2])


def make_id(deployment: str, signed: Signed, kind: str, unique_id: str) -> str:
    """Make the id of a launch: nobody finds it but the same repository and account."""
    scope = f"{signed.repository.lower()} {signed.caller.account.number}"
    return identity.launch_id(deployment, "garo", scope, kind, unique_id)


def make_start_answer(start: Start) -> dict[str, Any]:
    """Make the answer to a start, which is the same each time."""
    kind, unique_id, *more = start.demand.labels
    return {
        "runnerstate": "starting",
        "name": f"github-runner-{kind}-{unique_id}",
        "additional_label": ",".join(more),
        "type": kind,
        "uniqueid": unique_id,
    }


def make_state_answer(name: str, state: str, task: str | None, expires: float) -> dict[str, Any]:
    """Make the answer about a state."""
    return {
        "runnerstate": STATES[state],
        "name": name,
        "uniqueid": name.rpartition("-")[2],
        "instanceid": identity.task_id(task) if task else "",
        "updated_expiry_time": int(expires),
    }


STATES = {
    "waiting": "pending",
    "starting": "installing",
    "online": "started",
    "stopping": "removing",
    "done": "removing",
    "ended": "removing",
}
"""GARO's words for the states of an order."""


def _check_region(fields: Fields, caller: GaroCaller) -> None:
    check_listed(fields.take("region"), "region", (caller.region,) if caller.region else ())
