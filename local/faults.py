"""Run a reverse proxy that misbehaves on demand, in front of any stand-in.

Run on its own with `python -m local.faults --upstream URL`; in process with `serving()`. What no
rule and no limit concerns is passed through unchanged, streamed, without time-outs.

Over HTTP, on the proxy itself (other paths below /_local go to the upstream):

    POST   /_local/faults     one rule or a list of rules; fields as in `Rule`
    GET    /_local/faults     the rules, each with `matched`, how often it was applied
    DELETE /_local/faults     forget rules and limits
    POST   /_local/limits     one limit or a list; fields as in `Limit`
    GET    /_local/requests   what came in, oldest first, as in `Seen`; `?count=N`, with `method`,
                              `path` and `target` as in `Rule`, waits until there are that many
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import signal
import socket
import struct
import time
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args
from urllib.parse import parse_qs

import aiohttp
from aiohttp import web
from yarl import URL

from local.listening import listening

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping

Kind = Literal[
    "delay",  # answer, but `seconds` later
    "hang",  # never answer
    "reset",  # RST
    "close",  # FIN without an answer
    "status",  # answer with `error`, or with `status`, `headers` and `body`
    "not-json",  # 200 with a web page, as a captive portal would
    "not-http",  # bytes that are no HTTP at all
    "truncate",  # the upstream's answer, cut in the middle of its body
]

# Name of a rule's `error`: status, AWS's code, message. The texts are those that AWS sends;
# a refusal of KMS reaches a caller of SSM as an AccessDeniedException of its own wording.
ERRORS = {
    "ThrottlingException": (400, "ThrottlingException", "Rate exceeded"),
    "AccessDeniedException": (
        400,
        "AccessDeniedException",
        "User is not authorized to perform this action: no identity-based policy allows it",
    ),
    "KmsAccessDenied": (
        400,
        "AccessDeniedException",
        (
            "The ciphertext refers to a customer master key that does not exist, does not exist "
            "in this region, or you are not allowed to access."
        ),
    ),
    "InvalidKeyId": (400, "InvalidKeyId", "The query key ID isn't valid."),
    "InternalServerError": (500, "InternalServerError", "An error occurred on the server side."),
}


@dataclass(frozen=True)
class Rule:
    """One misbehaviour, and the requests it is for. The first rule that matches is applied."""

    kind: Kind
    method: str | None = None
    path: str = ""
    """A regular expression, searched in the path with its query."""
    target: str | None = None
    """The operation of X-Amz-Target after its dot, or a form's Action (STS): `GetParameter`."""
    times: int | None = None
    """How many times the rule applies; None: always."""
    skip: int = 0
    """How many matching requests pass before the rule applies."""
    seconds: float = 0
    """Seconds to wait before the fault."""
    forward: bool = False
    """Let the upstream act first: only its answer is lost or replaced."""
    instead_of: str | None = None
    """Only in place of an AWS error of this code, which the upstream gives; else pass it on."""
    error: str | None = None
    """A key of ERRORS, or any AWS error code (status 400)."""
    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"cannot apply a fault of kind {self.kind!r}: not one of {Kind}")
        re.compile(self.path)

    def concerns(self, seen: Seen) -> bool:
        """Return whether the rule is for this request."""
        return (
            self.method in (None, seen.method)
            and self.target in (None, seen.target)
            and re.search(self.path, seen.path) is not None
        )


@dataclass(frozen=True)
class Limit:
    """A token bucket that the operations in `targets` share; AWS throttles in this way."""

    targets: tuple[str, ...]
    rate: float
    """Requests per second."""
    burst: float | None = None
    """The size of the bucket; None: one second's worth."""


# The default throughput of Parameter Store; that of DeleteParameter cannot be raised.
SSM_LIMITS = (
    Limit(("GetParameter", "GetParameters", "GetParametersByPath", "PutParameter"), 40),
    Limit(("DeleteParameter", "DeleteParameters"), 5),
)


@dataclass
class Seen:
    """One request that came in; its outcome is added when it is known."""

    at: float
    """Seconds since the epoch."""
    method: str
    path: str
    target: str | None
    fault: str | None = None
    """The kind of the rule that was applied, or "limit"."""
    status: int | None = None
    """The status of the answer; None if there is none, or not yet."""


@dataclass
class Applied:
    """A rule that is in force, and how often it was applied."""

    rule: Rule
    matched: int = 0
    """How many times it was applied."""
    acted: int = 0
    """The times that it came to its fault: where it forwards, the upstream has acted by then."""
    passed: int = 0

    def takes(self, seen: Seen) -> bool:
        """Count the request, if the rule is for it and is not used up."""
        if self.matched == self.rule.times or not self.rule.concerns(seen):
            return False
        if self.passed < self.rule.skip:
            self.passed += 1
            return False
        self.matched += 1
        return True


class Bucket:
    """The tokens that are left of a limit."""

    def __init__(self, limit: Limit, clock: Callable[[], float]) -> None:
        self.limit = limit
        self._clock = clock
        self._size = limit.rate if limit.burst is None else limit.burst
        self._left, self._at = self._size, clock()

    def refuses(self, seen: Seen) -> bool:
        """Take one token for the request; return whether there was none."""
        if seen.target not in self.limit.targets:
            return False
        now = self._clock()
        self._left = min(self._size, self._left + (now - self._at) * self.limit.rate)
        self._at = now
        if self._left < 1:
            return True
        self._left -= 1
        return False


class Proxy:
    """The running proxy, for the code that started it."""

    def __init__(
        self, upstream: str, session: aiohttp.ClientSession, clock: Callable[[], float]
    ) -> None:
        self.url = ""
        self.requests: list[Seen] = []
        self.applied: list[Applied] = []
        self.buckets: list[Bucket] = []
        self._upstream = upstream.rstrip("/")
        self._session = session
        self._clock = clock
        self._came = asyncio.Condition()

    def add(self, *rules: Rule) -> list[Applied]:
        """Apply `rules` from now on, after those that are there."""
        added = [Applied(rule) for rule in rules]
        self.applied += added
        return added

    def limit(self, *limits: Limit) -> None:
        """Throttle from now on."""
        self.buckets += [Bucket(limit, self._clock) for limit in limits]

    def clear(self) -> None:
        """Remove all rules and limits; the log stays."""
        self.applied.clear()
        self.buckets.clear()

    def seen(self, **of: Any) -> list[Seen]:
        """List the requests so far, or those that `method`, `path` and `target` select."""
        wanted = Rule("delay", **of)
        return [seen for seen in self.requests if wanted.concerns(seen)]

    async def reached(self, count: int = 1, **of: Any) -> list[Seen]:
        """Wait until `count` such requests have come in; the caller bounds the time."""
        async with self._came:
            await self._came.wait_for(lambda: len(self.seen(**of)) >= count)
        return self.seen(**of)

    async def happened(self, applied: Applied) -> None:
        """Wait until a rule has come to its fault; the caller bounds the time."""
        async with self._came:
            await self._came.wait_for(lambda: applied.acted > 0)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request: the proxy's own, or one for the upstream with its faults."""
        if control := _CONTROL.get((request.method, request.path)):
            return await control(self, request)
        body = await request.read()
        seen = Seen(time.time(), request.method, request.raw_path, _target(request, body))
        self.requests.append(seen)
        async with self._came:
            self._came.notify_all()
        return await self._misbehave(request, body, seen)

    async def _misbehave(
        self, request: web.BaseRequest, body: bytes, seen: Seen
    ) -> web.StreamResponse:
        if any(bucket.refuses(seen) for bucket in self.buckets):
            seen.fault = "limit"
            return _log(seen, _refusal(request, "ThrottlingException"))
        applied = next((applied for applied in self.applied if applied.takes(seen)), None)
        if applied is None:
            return await self._pass(request, body, seen)
        rule = applied.rule
        seen.fault = rule.kind
        await asyncio.sleep(rule.seconds)
        if rule.kind in ("delay", "truncate"):
            return await self._pass(request, body, seen, cut=rule.kind == "truncate")
        if rule.instead_of is not None:
            return await self._replace(request, body, seen, rule)
        if rule.forward:
            async with self._answer_own(request, body) as reply:
                await reply.read()
        applied.acted += 1
        async with self._came:
            self._came.notify_all()
        return await _FAULTS[rule.kind](request, rule, seen)

    async def _replace(
        self, request: web.BaseRequest, body: bytes, seen: Seen, rule: Rule
    ) -> web.StreamResponse:
        """Answer as the upstream does, unless it answers the error that the rule replaces."""
        async with self._answer_own(request, body) as reply:
            content = await reply.read()
        if reply.status < 400 or f'"{rule.instead_of}"'.encode() not in content:
            seen.fault = None
            kept = {k: v for k, v in reply.headers.items() if k.lower() not in _LENGTH}
            return _log(seen, web.Response(status=reply.status, body=content, headers=kept))
        return await _FAULTS[rule.kind](request, rule, seen)

    def _answer_own(self, request: web.BaseRequest, body: bytes) -> Any:
        # The host stays what the client named, so that links in an answer lead here again.
        url = URL(self._upstream + request.raw_path, encoded=True)
        headers = [pair for pair in request.headers.items() if pair[0].lower() not in _HOP]
        return self._session.request(
            request.method, url, headers=headers, data=body or None, allow_redirects=False
        )

    async def _pass(
        self, request: web.BaseRequest, body: bytes, seen: Seen, cut: bool = False
    ) -> web.StreamResponse:
        try:
            async with self._answer_own(request, body) as reply:
                response = web.StreamResponse(status=reply.status, reason=reply.reason)
                for name, value in reply.headers.items():
                    if name.lower() not in _HOP:
                        response.headers.add(name, value)
                if cut:
                    return await _truncate(request, response, await reply.read())
                _log(seen, response)
                await response.prepare(request)
                async for chunk in reply.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
                return response
        except aiohttp.ClientError as error:
            if seen.status is not None:  # half an answer is out: end it as it ended for us
                return await _close(request)
            return _log(seen, web.Response(status=502, text=f"cannot reach upstream: {error}"))


# --- the faults ---------------------------------------------------------------------------------


async def _forever() -> web.StreamResponse:
    # Ends when the connection does: aiohttp then cancels the handler.
    await asyncio.Event().wait()
    raise AssertionError  # pragma: no cover


async def _hang(*_: Any) -> web.StreamResponse:
    return await _forever()


async def _close(request: web.BaseRequest, *_: Any) -> web.StreamResponse:
    if request.transport:
        request.transport.close()
    return await _forever()


async def _reset(request: web.BaseRequest, *_: Any) -> web.StreamResponse:
    if request.transport:
        connection = request.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    return await _forever()


async def _not_http(request: web.BaseRequest, *_: Any) -> web.StreamResponse:
    if request.transport:
        request.transport.write(b"\x16\x03\x01\x00\xffSSH-2.0-not-what-you-asked-for\r\n\r\n")
    return await _close(request)


async def _not_json(_request: web.BaseRequest, rule: Rule, seen: Seen) -> web.StreamResponse:
    page = rule.body or "<!doctype html><title>Please log in</title>"
    return _log(seen, web.Response(text=page, content_type="text/html", headers=rule.headers))


async def _status(request: web.BaseRequest, rule: Rule, seen: Seen) -> web.StreamResponse:
    if rule.error:
        response = _refusal(request, rule.error)
    else:
        response = web.Response(status=rule.status, body=rule.body.encode())
        if rule.body.startswith(("{", "[")):
            response.content_type = "application/json"
    response.headers.update(rule.headers)
    return _log(seen, response)


async def _truncate(
    request: web.BaseRequest, response: web.StreamResponse, body: bytes
) -> web.StreamResponse:
    response.content_length = max(1, len(body))
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    return await _close(request)


_FAULTS: dict[str, Callable[[web.BaseRequest, Rule, Seen], Awaitable[web.StreamResponse]]] = {
    "hang": _hang,
    "reset": _reset,
    "close": _close,
    "status": _status,
    "not-json": _not_json,
    "not-http": _not_http,
}

# The connection's own headers, which a proxy does not hand on.
_HOP = {"connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"}


_LENGTH = _HOP | {"content-length", "content-encoding"}


def _refusal(request: web.BaseRequest, error: str) -> web.Response:
    """Refuse as AWS does: in JSON for JSON protocols, in XML for the query protocol (STS)."""
    status, code, message = ERRORS.get(error, (400, error, error))
    if "X-Amz-Target" in request.headers:
        body = json.dumps({"__type": code, "message": message})
        return web.Response(
            status=status, body=body.encode(), content_type="application/x-amz-json-1.1"
        )
    body = (
        f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code>"
        f"<Message>{message}</Message></Error><RequestId>local</RequestId></ErrorResponse>"
    )
    return web.Response(status=status, text=body, content_type="text/xml")


def _log(seen: Seen, response: web.StreamResponse) -> web.StreamResponse:
    seen.status = response.status
    return response


def _target(request: web.BaseRequest, body: bytes) -> str | None:
    if named := request.headers.get("X-Amz-Target"):
        return named.rpartition(".")[2]
    if request.content_type == "application/x-www-form-urlencoded":
        return parse_qs(body.decode("latin-1")).get("Action", [None])[0]
    return None


# --- the control plane --------------------------------------------------------------------------


async def _read_list(request: web.BaseRequest) -> list[dict[str, Any]]:
    wanted = json.loads(await request.read())
    return wanted if isinstance(wanted, list) else [wanted]


async def _add(proxy: Proxy, request: web.BaseRequest) -> web.Response:
    try:
        proxy.add(*[Rule(**each) for each in await _read_list(request)])
    except (TypeError, ValueError, re.error) as error:
        return web.Response(status=400, text=f"{error}\n")
    return web.Response(status=204)


async def _limit(proxy: Proxy, request: web.BaseRequest) -> web.Response:
    try:
        proxy.limit(*[Limit(**each) for each in await _read_list(request)])
    except (TypeError, ValueError) as error:
        return web.Response(status=400, text=f"{error}\n")
    return web.Response(status=204)


async def _clear(proxy: Proxy, _request: web.BaseRequest) -> web.Response:
    proxy.clear()
    return web.Response(status=204)


async def _rules(proxy: Proxy, _request: web.BaseRequest) -> web.Response:
    return web.json_response(
        [{**asdict(one.rule), "matched": one.matched} for one in proxy.applied]
    )


async def _requests(proxy: Proxy, request: web.BaseRequest) -> web.Response:
    of = {
        name: request.query[name] for name in ("method", "path", "target") if name in request.query
    }
    found = await proxy.reached(int(request.query.get("count", 0)), **of)
    return web.json_response([asdict(seen) for seen in found])


_CONTROL: dict[tuple[str, str], Callable[[Proxy, web.BaseRequest], Awaitable[web.Response]]] = {
    ("POST", "/_local/faults"): _add,
    ("GET", "/_local/faults"): _rules,
    ("DELETE", "/_local/faults"): _clear,
    ("POST", "/_local/limits"): _limit,
    ("GET", "/_local/requests"): _requests,
}


# --- serving ------------------------------------------------------------------------------------


@asynccontextmanager
async def serving(
    upstream: str,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    rules: Iterable[Rule] = (),
    limits: Iterable[Limit] = (),
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[Proxy]:
    """Serve the proxy in front of `upstream`, a URL; `clock` is that of the limits."""
    skipped = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
    async with aiohttp.ClientSession(
        auto_decompress=False,
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=skipped,
        timeout=aiohttp.ClientTimeout(total=None),
    ) as session:
        proxy = Proxy(upstream, session, clock)
        proxy.add(*rules)
        proxy.limit(*limits)
        async with listening(proxy.answer, host, port) as proxy.url:
            yield proxy


async def _main(upstream: str, host: str, port: int, limits: Iterable[Limit]) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with serving(upstream, host, port, limits=limits) as proxy:
        print(f"ready {proxy.url}", flush=True)
        await stopped.wait()


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(
        prog="python -m local.faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--upstream", required=True, help="URL of what stands behind")
    parser.add_argument("--address", default="127.0.0.1:0", help="host:port to listen on")
    parser.add_argument(
        "--ssm-limits", action="store_true", help="throttle as Parameter Store does by default"
    )
    args = parser.parse_args()
    host, _, port = args.address.rpartition(":")
    asyncio.run(_main(args.upstream, host, int(port), SSM_LIMITS if args.ssm_limits else ()))


if __name__ == "__main__":
    main()
