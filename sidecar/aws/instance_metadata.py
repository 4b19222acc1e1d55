"""Ask the instance metadata service of the machine that the agent runs on (IMDSv2).

Source: Amazon EC2 User Guide, "Use IMDSv2", "Instance metadata categories", "Spot Instance
interruption notices". IMDSv1, which needs no token, is never asked: any page that a browser or a
job fetches could ask it too.
"""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import aiohttp

from sidecar.net.marked_sockets import connector
from sidecar.net.retry import call_with_retries, growing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

CALL_SECONDS = 2.0
"""For one request; on Fargate nothing answers."""
LOOK = 1.0
"""Seconds in which a machine's service answers for the first time, if it is not known to exist."""
PATIENCE = 30.0
"""Seconds to read what it says: on a machine that boots, the network may come late."""
TOKEN_SECONDS = 6 * 3600
"""How long the token of a session is good: as long as the service allows."""
LARGEST = 64 * 1024
"""Bytes of one answer."""
MOST_TAGS = 100
"""Tags that are read; an instance may have 50, and AWS adds some."""

ROLES = "iam/security-credentials"
PROFILE = "iam/info"
SPOT_NOTICE = "spot/instance-action"
"""404 until AWS takes the instance back: two minutes before that."""
REBALANCE = "events/recommendations/rebalance"
"""404 until the risk of that has grown."""
NOTICE_MARGIN = 5.0
"""Seconds before the time of a Spot notice at which all must be done: it is an approximate one."""
LONGEST_NOTICE = 300.0
"""Seconds; a Spot notice comes two minutes ahead."""
TAGS = "tags/instance"
"""404 unless the instance has its tags in its metadata (InstanceMetadataTags)."""
DOCUMENT = "instance-identity/document"
FACTS = (
    "instance-id",
    "instance-type",
    "ami-id",
    "instance-life-cycle",
    "placement/availability-zone",
    "placement/region",
)
"""What is read of a machine, beside its role, its tags and its identity document."""
_TOKEN = re.compile(r"[\x21-\x7e]+")
_FACT = re.compile(r"[\w.:+=,@-]{1,255}", re.ASCII)
"""Any fact, and the name of any role."""
_TAG_KEY = re.compile(r"[\w .:/+=,@-]{1,255}")
"""Any key of a tag. EC2 shows only keys of fewer characters; it need not stay so."""
_DATA, _DYNAMIC = "/latest/meta-data", "/latest/dynamic"


class MetadataError(Exception):
    """The service did not answer as it should; the text says why."""


class SilentError(MetadataError):
    """The service did not answer, or not well, and may do so in a moment."""


class InstanceMetadata:
    """One session with the service, with a token of its own."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._token: str | None = None

    async def read(self, path: str, *, root: str = _DATA) -> str | None:
        """Return the text at `path`, or None if there is none. Raises MetadataError."""
        await self.open()
        status, text = await self._get(f"{root}/{path}")
        if status == 401:  # the token is too old: the machine may have slept
            self._token = None
            await self.open()
            status, text = await self._get(f"{root}/{path}")
        if status == 404:
            return None
        if status != 200:
            kind = SilentError if status == 429 or status >= 500 else MetadataError
            raise kind(f"it answers {status} for {path}")
        return text

    async def read_notice(self, path: str) -> dict[str, Any] | None:
        """Return the notice at `path`, None if there is none. Raises MetadataError.

        A page of somebody else, who answers in the service's place, is no notice.
        """
        text = await self.read(path)
        if text is None:
            return None
        try:
            notice = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise SilentError(f"it answers no notice for {path}") from error
        if not isinstance(notice, dict) or not {"action", "noticeTime"} & notice.keys():
            raise SilentError(f"it answers no notice for {path}")
        return notice

    async def read_document(self) -> str | None:
        """Return the instance's identity document. Raises MetadataError."""
        return await self.read(DOCUMENT, root=_DYNAMIC)

    async def open(self) -> None:
        """Get the session's token, unless it has one. Raises MetadataError."""
        if self._token is not None:
            return
        headers = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS)}
        status, text = await self._send("PUT", "/latest/api/token", headers)
        if status != 200:
            kind = SilentError if status == 429 or status >= 500 else MetadataError
            raise kind(_explain_no_token(status))
        if not _TOKEN.fullmatch(text.strip()):  # it must fit into a header
            raise SilentError("it answers a token that is none")
        self._token = text.strip()

    async def _get(self, path: str) -> tuple[int, str]:
        return await self._send("GET", path, {"X-aws-ec2-metadata-token": self._token or ""})

    async def _send(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        try:
            async with self._session.request(
                method, path, headers=headers, allow_redirects=False
            ) as answer:
                return answer.status, await _read_text(answer)
        except TimeoutError as error:
            text = f"no answer within {CALL_SECONDS:g} s"
            if method == "PUT":
                text += "; from a container the hop limit must be 2 (HttpPutResponseHopLimit)"
            raise SilentError(text) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise SilentError(str(error) or type(error).__name__) from error


def seconds_left(notice: Mapping[str, Any], now: datetime) -> float | None:
    """Return the seconds until the instance is interrupted, less a margin; None if it is not said.

    A time that no Spot notice has, such as that of another clock, is not believed.
    """
    try:
        end = datetime.fromisoformat(str(notice.get("time")))
        left = (end - now).total_seconds() - NOTICE_MARGIN
    except (ValueError, TypeError, OverflowError):
        return None
    return left if 0 < left <= LONGEST_NOTICE else None


async def _read_text(answer: aiohttp.ClientResponse) -> str:
    body = b""
    while chunk := await answer.content.read(LARGEST):
        body += chunk
        if len(body) > LARGEST:
            message = f"it answers more than {LARGEST} bytes"
            raise ValueError(message)
    return body.decode()


def _explain_no_token(status: int) -> str:
    if status == 403:
        return "it is switched off (HttpEndpoint): it answers 403"
    if status in (404, 405):
        return f"it gives no tokens, so it is no IMDSv2: it answers {status}"
    return f"it answers {status} instead of a token"


@asynccontextmanager
async def connect(url: str, *, so_mark: bool = False) -> AsyncIterator[InstanceMetadata]:
    """Open a session with the service at `url`; nothing is asked yet.

    `so_mark`: ask on the agent's SO_MARK sockets, where network rules redirect all others.
    """
    async with aiohttp.ClientSession(
        url,
        timeout=aiohttp.ClientTimeout(total=CALL_SECONDS),
        trust_env=False,  # a proxy must never see these requests
        cookie_jar=aiohttp.DummyCookieJar(),
        connector=connector(so_mark=so_mark, limit=1),
    ) as session:
        yield InstanceMetadata(session)


async def read_machine(
    url: str,
    *,
    expected: bool,
    so_mark: bool = False,
    is_stopped: Callable[[], bool] = lambda: False,
) -> dict[str, str]:
    """Read what the service says about this machine, by the names that it has there.

    The names are those of FACTS, `iam/security-credentials` for the role's name, `tags/instance/`
    and a tag's key, and `instance-identity/document`; one that is missing there is missing here.

    Where nothing is `expected` there is one try of LOOK seconds to begin with: elsewhere nobody
    answers, and packets are lost. A service that answers is asked for PATIENCE seconds;
    `is_stopped` ends that early. Raises MetadataError.
    """
    growing_pause = growing(SilentError, first=0.2, longest=2.0)
    reason = f"no whole answer within {PATIENCE:g} s"

    def pause(error: Exception) -> bool | float:
        nonlocal reason
        if isinstance(error, SilentError):  # not the end of the time
            reason = str(error)
        return False if is_stopped() else growing_pause(error)

    async with connect(url, so_mark=so_mark) as metadata:
        if not expected:
            await _look(metadata)
        try:
            async with asyncio.timeout(PATIENCE):
                return await call_with_retries(
                    lambda: _read_all(metadata), pause, seconds=PATIENCE - CALL_SECONDS
                )
        except TimeoutError as error:
            raise MetadataError(reason) from error


async def _look(metadata: InstanceMetadata) -> None:
    """Find out whether the service is there at all."""
    try:
        async with asyncio.timeout(LOOK):
            await metadata.open()
    except TimeoutError as error:
        raise SilentError(f"no answer within {LOOK:g} s") from error


async def _read_all(metadata: InstanceMetadata) -> dict[str, str]:
    """Read everything once; an answer of somebody else, such as a page, is asked for again."""
    found: dict[str, str] = {}
    for name in FACTS:
        if text := await metadata.read(name):
            found[name] = _check(name, _FACT, text.strip())
    if "instance-id" not in found:
        raise MetadataError("it does not say the instance's id")
    if roles := await metadata.read(f"{ROLES}/"):
        found[ROLES] = _check(ROLES, _FACT, roles.split("\n")[0].strip())
    if document := await metadata.read_document():
        found[DOCUMENT] = document
    keys = (await metadata.read(f"{TAGS}/") or "").split("\n")
    for key in [_check(TAGS, _TAG_KEY, key) for key in keys if key][:MOST_TAGS]:
        if (value := await metadata.read(f"{TAGS}/{key}")) is not None:
            found[f"{TAGS}/{key}"] = value
    return found


def _check(name: str, form: re.Pattern[str], text: str) -> str:
    if not form.fullmatch(text):
        raise SilentError(f"it does not answer {name}, but something else")
    return text
