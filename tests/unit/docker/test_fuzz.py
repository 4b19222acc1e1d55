"""The proxy reads broken heads, bodies and streams as the engine does, or refuses them.

An independent parser (llhttp) stands in for the engine. The seed is fixed.
"""

from __future__ import annotations

import asyncio
import json
import random
import re

import httptools
import pytest

from sidecar.docker.bodies import FramingError
from sidecar.docker.container_create import ContainerCreate
from sidecar.docker.heads import MalformedHead, find_end, parse_request
from sidecar.docker.json_documents import UnreadableBody
from tests.support.loops import on_both, run
from tests.unit.docker.fakes import CREATED, chunked, post, response, start_stage
from tests.unit.docker.test_binds import SOCKETS
from tests.unit.docker.test_container_create import make_variables

SEED = 20_10
HEADS = 25_000
BODIES = 25_000
STREAMS = 1000

URI = b"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
GOOD_HEADS = (
    b"POST /v1.41/containers/create?name=a HTTP/1.1\r\nHost: docker\r\nContent-Length: 12\r\n\r\n",
    b"GET /_ping HTTP/1.1\r\nHost: docker\r\nUser-Agent: x\r\n\r\n",
    b"POST /build HTTP/1.1\r\nTransfer-Encoding: chunked\r\nX-Registry-Config: e30=\r\n\r\n",
    b"POST /exec/x/start HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n",
)
FRAGMENTS = (
    b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b"\xff", b"%2f", b"%", b"/", b"..", b"?", b"#",
    b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"transfer-encoding:chunked\n",
    b"Content-Length:\t0\r\n", b"HTTP/1.0", b"HTTP/2.0", b"5\r\n", b"0\r\n\r\n", b"http://x",
    b"Expect: 100-continue\r\n", b"POST ", b"\r\n\r\n", b" folded\r\n",
)  # fmt: skip


def make_random() -> random.Random:
    """Return a generator that makes the same choices in each run."""
    return random.Random(SEED)  # noqa: S311


def mutate(rng: random.Random, good: bytes, most: int = 4) -> bytes:
    """Return it with a few parts removed, inserted or repeated."""
    text = bytearray(good)
    for _ in range(rng.randint(0, most)):
        at = rng.randrange(len(text) + 1)
        match rng.randrange(4):
            case 0:
                text[at:at] = rng.choice(FRAGMENTS)
            case 1:
                del text[at : at + rng.randint(1, 4)]
            case 2:
                text[at : at + 1] = rng.randbytes(1)
            case 3:
                text[at:at] = text[max(0, at - rng.randint(1, 30)) : at]
    return bytes(text)


def test_broken_heads_are_parsed_or_refused():
    """A head that is accepted has one line for each field, and its body has a known end."""
    rng, read, statuses = make_random(), 0, set()
    for _ in range(HEADS):
        text = mutate(rng, rng.choice(GOOD_HEADS))
        length = find_end(text)
        if length < 0:
            continue
        head = text[:length]
        try:
            one = parse_request(head)
            one.make_body()
        except MalformedHead as refused:
            statuses.add(refused.status)
            continue
        read += 1
        assert one.raw == head
        again = parse_request(one.with_body(b"xyz")[:-3])
        assert (again.method, again.path, again.query) == (one.method, one.path, one.query)
        assert again.values(b"content-length") == [b"3"]
        assert not again.values(b"transfer-encoding")
        others = [field for field in one.fields if field[0] not in FRAMING]
        if one.make_body().done and not one.values(b"content-type"):
            others.append((b"content-type", b"application/json"))  # there was no body before
        assert [field for field in again.fields if field[0] not in FRAMING] == others
    assert read > HEADS // 10
    assert statuses == {400, 501, 505}


FRAMING = (b"content-length", b"transfer-encoding", b"expect")


def make_document(rng: random.Random, depth: int = 0) -> object:
    """Return any JSON value."""
    match rng.randrange(8 if depth < 3 else 5):
        case 0:
            return rng.choice(("", "a", "/run/docker.sock", "\u00e9\U0001f600", "\ud800", '"\\'))
        case 1:
            return rng.randint(-(1 << 70), 1 << 70)
        case 2:
            return rng.random()
        case 3:
            return rng.choice((None, True, False))
        case 4:
            return [make_document(rng, depth + 1) for _ in range(rng.randint(0, 3))]
        case _:
            names = (
                "Env",
                "env",
                "HostConfig",
                "Binds",
                "Mounts",
                "Source",
                "A",
                "Image",
                "\u00e9",
            )
            return {
                rng.choice(names): make_document(rng, depth + 1) for _ in range(rng.randint(0, 4))
            }


def make_create(rng: random.Random) -> dict[str, object]:
    """Return a body that may be a create request, with many unknown fields."""
    body: dict[str, object] = {"Image": "base", "Labels": make_document(rng)}
    body[rng.choice(("Env", "env", "ENV"))] = rng.choice(
        ([], None, ["A=1", "B"], ["AWS_REGION=x", 1], make_document(rng))
    )
    binds = ["/run/docker.sock:/d", "v:/v", make_document(rng)]
    body["HostConfig"] = rng.choice(({"Binds": binds, "X": make_document(rng)}, make_document(rng)))
    return body


def test_broken_bodies_are_rewritten_or_refused():
    """A body that is accepted keeps everything except its variables and binds, in order."""
    rng, read = make_random(), 0
    for _ in range(BODIES):
        text = json.dumps(make_create(rng), ensure_ascii=rng.random() < 0.5)
        body = text.encode("utf-8", "surrogatepass")
        if rng.random() < 0.5:
            body = mutate(rng, body)
        try:
            create = ContainerCreate(body)
            create.replace_binds(SOCKETS.find_replacement)
            create.add_variables(make_variables())
        except UnreadableBody:
            continue
        read += 1
        before, after = (
            json.loads(text.decode("utf-8", "surrogateescape")) for text in (body, create.body)
        )
        named = [name for name in before if name.lower() == "env"]
        added = "Env" if not named else named[0]
        assert [name for name in after if name != added] == [n for n in before if n != added]
        for name in before:
            if name.lower() not in ("env", "hostconfig", "mounts"):
                assert json.dumps(after[name]) == json.dumps(before[name])
    assert read > BODIES // 2


class LlhttpEngine:
    """An engine that parses requests with llhttp."""

    def __init__(self) -> None:
        self.creates: list[bytes] = []
        """The bodies of all create requests that it understood."""
        self.understood = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer each request that is understood; close at the first that is not."""
        callbacks = _ParserCallbacks(self, writer)
        parser = httptools.HttpRequestParser(callbacks)
        callbacks.parser = parser
        while data := await reader.read(1 << 16):
            try:
                parser.feed_data(data)
            except httptools.HttpParserUpgrade:
                return
            except httptools.HttpParserError:
                writer.write(response(400))
                return


class _ParserCallbacks:
    """The parser's callbacks, for one request after another."""

    parser: httptools.HttpRequestParser

    def __init__(self, policy: LlhttpEngine, writer: asyncio.StreamWriter) -> None:
        self.policy = policy
        self.writer = writer
        self.url = self.body = b""

    def on_message_begin(self) -> None:
        self.url = self.body = b""

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.policy.understood += 1
        path = re.sub(rb"/v[\d.]+(?=/)", b"", self.url.partition(b"?")[0])
        if self.parser.get_method() == b"POST" and path == b"/containers/create":
            self.policy.creates.append(self.body)
            self.writer.write(response(201, CREATED))
        else:
            self.writer.write(response(200, b"{}"))


def make_stream(rng: random.Random) -> bytes:
    """Return a few requests in a row, of which the last ones are broken."""
    create = b'{"Image":"base"}'
    kinds = (
        b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n",
        post("/v1.41/containers/create", create),
        b"POST /containers/create HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(create),
        post("/build", post("/containers/create", create)),
        b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        + chunked(post("/containers/create", create)),
    )
    good = b"".join(rng.choices(kinds, k=2))
    return good + mutate(rng, b"".join(rng.choices(kinds, k=3)), most=6)


@on_both
def test_no_create_request_passes_unchanged(loop, tmp_path):
    """Every create request that the engine understands was rewritten, whatever came before it."""
    rng, policy = make_random(), LlhttpEngine()

    async def scenario():
        async with start_stage(tmp_path, policy) as stage:
            for _ in range(STREAMS):
                text = make_stream(rng)
                cut = sorted(rng.choices(range(len(text) + 1), k=rng.randint(0, 3)))
                pieces = [text[a:b] for a, b in zip([0, *cut], [*cut, len(text)], strict=True)]
                back = await asyncio.wait_for(stage.send(*pieces), 10)
                assert back.startswith(b"HTTP/1.1 ")
            assert not stage.proxy.connections

    run(loop, scenario(), timeout=120)
    assert len(policy.creates) > STREAMS // 2
    assert all(URI in body for body in policy.creates)


EXTREME_FIELDS = {
    "spaces": b"A: " + b" " * 900_000 + b"b\r\n",
    "fields": b"A: b\r\n" * 150_000,
    "few fields": b"A: b\r\n" * 1000,
    "target": b"X: " + b"a:/" * 300_000 + b"\r\n",
    "digits": b"Content-Length: " + b"0" * 900_000 + b"\r\n",
}


@pytest.mark.parametrize("field", EXTREME_FIELDS)
def test_parsing_a_huge_head_is_fast(field):
    """The time to parse a megabyte grows with its length, not with its square."""
    try:
        parse_request(b"GET /x HTTP/1.1\r\n" + EXTREME_FIELDS[field] + b"\r\n").make_body()
    except (MalformedHead, FramingError):
        assert field in ("digits", "fields")


@pytest.mark.parametrize("target", [b"a" * 1_000_000, b"/.." * 300_000, b"/%2e" * 250_000])
def test_a_huge_path_is_refused(target):
    """It would be taken apart word by word, while the event loop waits; a query is not."""
    with pytest.raises(MalformedHead) as refused:
        parse_request(b"GET /" + target + b" HTTP/1.1\r\n\r\n")
    assert refused.value.status == 414
    assert parse_request(b"GET /x?" + target + b" HTTP/1.1\r\n\r\n").path == "/x"
