"""Serve the instance metadata service of an EC2 instance: IMDSv2, and IMDSv1 where it is allowed.

The answers have the form that Amazon's EC2 User Guide describes ("Instance metadata categories",
"Use IMDSv2", "Spot Instance interruption notices"). By default it also answers IMDSv1, as an
instance does that nobody has hardened. No container of a task may reach it: a client that gets this
role has gone around the relay.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from aiohttp import web

from local import aws
from local.listening import listening

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

INSTANCE_ROLE = f"arn:aws:iam::{aws.ACCOUNT}:role/instance"
INSTANCE = "i-0123456789abcdef0"
_DATA = "/latest/meta-data"
_ROLES = f"{_DATA}/iam/security-credentials"
_TOKEN = "/latest/api/token"
_TOKEN_HEADER, _TTL = "X-aws-ec2-metadata-token", "X-aws-ec2-metadata-token-ttl-seconds"
_LONGEST = 21600
_PAGE = "<html>\n<p>Welcome</p>\n</html>"
_FAULTS: dict[str, Callable[[], web.Response]] = {
    "disabled": lambda: web.Response(status=403),
    "throttled": lambda: web.Response(status=503),
    "page": lambda: web.Response(text=_PAGE, content_type="text/html"),
}
_SPOT_NOTICE = timedelta(minutes=2)


@dataclass
class Instance:
    """The instance, and how its metadata service is configured; it may change while it runs."""

    id: str = INSTANCE
    account: str = aws.ACCOUNT
    region: str = aws.REGION
    zone: str = f"{aws.REGION}b"
    type: str = "m7i.large"
    image: str = "ami-0abcdef1234567890"
    life_cycle: Literal["on-demand", "spot"] = "on-demand"
    tags: dict[str, str] | None = None
    """The instance's tags; None: they are not in its metadata, as AWS has it by default."""
    has_role: bool = True
    """Whether it has an instance profile."""
    token_required: bool = False
    """Whether IMDSv1 is refused (HttpTokens)."""
    action: dict[str, str] | None = None
    """The Spot interruption notice."""
    recommended: str | None = None
    """When a rebalance was recommended."""

    @property
    def role(self) -> str:
        """The ARN of the role of its instance profile."""
        return INSTANCE_ROLE.replace(aws.ACCOUNT, self.account)

    def interrupt(self, action: str = "terminate", after: timedelta = _SPOT_NOTICE) -> None:
        """Give notice that AWS takes the Spot instance back, in two minutes unless `after` says."""
        self.action = {"action": action, "time": _format(datetime.now(UTC) + after)}

    def recommend_rebalance(self) -> None:
        """Recommend to rebalance: the risk of an interruption has grown."""
        self.recommended = _format(datetime.now(UTC))

    def documents(self) -> dict[str, str]:
        """Return all its metadata but the credentials, by path below `/latest`."""
        identity = {
            "accountId": self.account,
            "architecture": "x86_64",
            "availabilityZone": self.zone,
            "imageId": self.image,
            "instanceId": self.id,
            "instanceType": self.type,
            "region": self.region,
            "version": "2017-09-30",
        }
        found = {
            "dynamic/instance-identity/document": json.dumps(identity, indent=2),
            "meta-data/ami-id": self.image,
            "meta-data/instance-id": self.id,
            "meta-data/instance-life-cycle": self.life_cycle,
            "meta-data/instance-type": self.type,
            "meta-data/placement/availability-zone": self.zone,
            "meta-data/placement/region": self.region,
            "meta-data/services/domain": "amazonaws.com",
            "meta-data/services/partition": "aws",
        }
        if self.has_role:
            found["meta-data/iam/info"] = json.dumps(
                {
                    "Code": "Success",
                    "LastUpdated": _format(datetime.now(UTC)),
                    "InstanceProfileArn": f"arn:aws:iam::{self.account}:instance-profile/instance",
                    "InstanceProfileId": "AIPALOCALINSTANCE",
                }
            )
        for key, value in (self.tags or {}).items():
            found[f"meta-data/tags/instance/{key}"] = value
        if self.action is not None:
            found["meta-data/spot/instance-action"] = json.dumps(self.action)
        if self.recommended is not None:
            notice = json.dumps({"noticeTime": self.recommended})
            found["meta-data/events/recommendations/rebalance"] = notice
        return found


@dataclass
class Seen:
    """One request that came in."""

    method: str
    path: str
    peer: str


@dataclass
class Metadata:
    """The running service, for the code that started it."""

    instance: Instance
    held: dict[str, str]
    """The role's credentials, as IMDS names their parts."""
    url: str = ""
    requests: list[Seen] = field(default_factory=list)
    fault: Literal["", "silent", "v1", "disabled", "throttled", "page"] = ""
    """What is wrong with it: it never answers, knows no tokens (only IMDSv1), is switched off
    (HttpEndpoint), refuses because of too many requests, or somebody else answers: with a page."""
    _tokens: dict[str, float] = field(default_factory=dict)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; `/_local/requests` lists what came in, oldest first."""
        if request.path == "/_local/requests":
            return web.json_response([asdict(seen) for seen in self.requests])
        self.requests.append(Seen(request.method, request.raw_path, request.remote or ""))
        self._changed.set()
        if self.fault == "silent":
            await asyncio.Event().wait()
        if self.fault in _FAULTS:
            return _FAULTS[self.fault]()
        if request.path == _TOKEN:
            return self._issue(request)
        if request.method not in ("GET", "HEAD"):
            return web.Response(status=405)
        if not self._may_read(request):
            return web.Response(status=401)
        return self._find(request.path)

    def count_requests(self, path: str) -> int:
        """Return how many requests have come in whose path ends with `path`."""
        return sum(seen.path.endswith(path) for seen in self.requests)

    async def wait_for_request(self, path: str, count: int = 1) -> None:
        """Wait until so many requests whose path ends with `path` have come in."""
        while self.count_requests(path) < count:
            self._changed.clear()
            await self._changed.wait()

    def forget_tokens(self) -> None:
        """Accept none of the tokens that were given so far."""
        self._tokens.clear()

    def _issue(self, request: web.BaseRequest) -> web.Response:
        if request.method != "PUT" or self.fault == "v1":
            return web.Response(status=404 if self.fault == "v1" else 405)
        if "X-Forwarded-For" in request.headers:
            return web.Response(status=403)
        ttl = request.headers.get(_TTL, "")
        if not (ttl.isascii() and ttl.isdigit() and 1 <= int(ttl) <= _LONGEST):
            return web.Response(status=400)
        token = secrets.token_urlsafe(40) + "=="
        self._tokens[token] = time.monotonic() + int(ttl)
        return web.Response(text=token, headers={_TTL: ttl})

    def _may_read(self, request: web.BaseRequest) -> bool:
        token = request.headers.get(_TOKEN_HEADER)
        if token is None:
            return self.fault == "v1" or not self.instance.token_required
        return self._tokens.get(token, 0.0) > time.monotonic()

    def _find(self, path: str) -> web.Response:
        documents = {f"/latest/{name}": text for name, text in self.instance.documents().items()}
        if self.instance.has_role:
            documents[f"{_ROLES}/{INSTANCE_ROLE.rpartition('/')[2]}"] = json.dumps(self.held)
        exact = path.rstrip("/")
        if exact in documents:
            return web.Response(text=documents[exact])
        # A folder lists its names, those of folders with a slash; a tag's name is its whole key.
        inside = [
            name.removeprefix(f"{exact}/") for name in documents if name.startswith(f"{exact}/")
        ]
        if not inside:
            return web.Response(status=404)
        is_flat = exact.endswith("/tags/instance")
        names = [name if is_flat else _first_part(name) for name in inside]
        return web.Response(text="\n".join(dict.fromkeys(names)))


def _first_part(path: str) -> str:
    head, slash, _ = path.partition("/")
    return head + slash


def _format(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _credentials(held: aws.Credentials | None, now: Callable[[], float]) -> dict[str, str]:
    moment = datetime.fromtimestamp(now(), UTC)
    return {
        "Code": "Success",
        "LastUpdated": _format(moment),
        "Type": "AWS-HMAC",
        "AccessKeyId": held.access_key_id if held else "ASIALOCALINSTANCE",
        "SecretAccessKey": held.secret_access_key if held else secrets.token_hex(20),
        "Token": held.session_token if held else secrets.token_urlsafe(180),
        "Expiration": _format(held.expiration if held else moment + timedelta(hours=6)),
    }


@asynccontextmanager
async def serving(
    endpoint: str = "",
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    instance: Instance | None = None,
) -> AsyncIterator[Metadata]:
    """Serve the metadata of an instance.

    The role's credentials are those of the STS at `endpoint`; without one, nobody knows them.
    """
    instance = instance or Instance()
    held = None
    if endpoint:
        held = await asyncio.to_thread(aws.assume_role, endpoint, instance.role, instance.id)
    metadata = Metadata(instance, _credentials(held, time.time))
    async with listening(metadata.answer, host, port) as metadata.url:
        yield metadata
