"""An image of a job's container has nothing of what the proxy added to the container."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import tarfile
from urllib.parse import parse_qs, urlsplit

import pytest
from structlog.testing import capture_logs

from sidecar.docker.committed_image import commit, describe, restore
from sidecar.docker.engine import EngineError, NotFound, Refused

FIRST = "sha256:" + "1" * 64
URI = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
ORIGINALS = {URI: None, "AWS_REGION": None, "NO_PROXY": "a", "EMPTY": ""}
DESCRIBED = {
    "Id": FIRST,
    "Architecture": "amd64",
    "Os": "linux",
    "OsVersion": "",
    "Created": "2026-05-04T03:02:01.5Z",
    "Author": "me",
    "Config": {"Env": ["B=1", URI, "AWS_REGION", "NO_PROXY=a", "EMPTY="], "Cmd": ["x"]},
    "ContainerConfig": {"Env": [f"{URI}=/secret", "NO_PROXY=a,169.254.170.2", "B=1"]},
    "RootFS": {"Type": "layers", "Layers": ["sha256:a", "sha256:b"]},
}
CONFIG = {"Env": ["B=1", f"{URI}=/secret", "NO_PROXY=a,169.254.170.2"], "Tty": True}
HISTORY = [
    {"Created": 3, "CreatedBy": "sleep 600", "Size": 5, "Comment": "mine"},
    {"Created": 2, "CreatedBy": "/bin/sh -c #(nop)  CMD [x]", "Size": 0, "Comment": ""},
    {"Created": 1, "CreatedBy": "ADD file", "Size": 7, "Comment": ""},
]


class FakeEngine:
    """An engine that commits, and loads images from archives without layers if it may."""

    host = "unix:///docker.sock"

    def __init__(self, *, loads: bool = True, refused: str = "") -> None:
        self._loads = loads
        self._refused = refused
        self.sent = []
        self.images = {FIRST: DESCRIBED}

    async def send(self, path, body, kind, **_):
        """Take a request."""
        self.sent.append((path, body, kind))
        if self._refused and self._refused in path:
            raise Refused("POST", 409, "no")
        if path.startswith("/commit"):
            self.images[FIRST] = DESCRIBED
            return json.dumps({"Id": FIRST}).encode()
        if path.startswith("/images/load") and self._loads:
            self.load(body)
        return b""

    def load(self, archive):
        """Load an image as the engine does: its id is the digest of its document."""
        with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
            (manifest,) = json.load(packed.extractfile("manifest.json"))
            document = packed.extractfile(manifest["Config"]).read()
        image = f"sha256:{hashlib.sha256(document).hexdigest()}"
        assert len(manifest["Layers"]) == len(json.loads(document)["rootfs"]["diff_ids"])
        self.images[image] = {"Id": image, "document": json.loads(document)}

    async def get(self, path):
        """Describe an image."""
        name, _, what = path.removeprefix("/images/").rpartition("/")
        if name not in self.images:
            raise NotFound(path)
        return HISTORY if what == "history" else self.images[name]

    async def delete(self, path):
        """Remove an image."""
        del self.images[urlsplit(path).path.removeprefix("/images/")]


def run_commit(engine, query="container=c&repo=x&tag=y&changes=ENV+A%3D1", body=b"null"):
    """Commit; return the image."""
    return asyncio.run(commit(engine, query, body, CONFIG, ORIGINALS))


def test_the_image_is_as_if_there_were_no_agent():
    """Its layers are the engine's; neither variables nor a path are left in its document."""
    engine = FakeEngine()
    image = run_commit(engine)
    assert list(engine.images) == [image]
    document = engine.images[image]["document"]
    assert document["config"] == {"Env": ["B=1", "NO_PROXY=a", "EMPTY="], "Cmd": ["x"]}
    assert document["container_config"] == {"Env": ["NO_PROXY=a", "B=1"]}
    assert "secret" not in json.dumps(document)
    assert document["rootfs"] == {"type": "layers", "diff_ids": ["sha256:a", "sha256:b"]}
    assert (document["os"], document["author"]) == ("linux", "me")
    assert "os.version" not in document
    assert [step.get("empty_layer", False) for step in document["history"]] == [False, True, False]
    assert document["history"][2]["comment"] == "mine"


def test_the_request_is_the_client_s_but_for_the_name():
    """The image gets its name when it is ready, so that nobody sees the first one under it."""
    engine = FakeEngine()
    image = run_commit(engine)
    asked = [urlsplit(path) for path, _, _ in engine.sent]
    assert [one.path for one in asked] == ["/commit", "/images/load", f"/images/{image}/tag"]
    assert parse_qs(asked[0].query) == {"container": ["c"], "changes": ["ENV A=1"]}
    assert parse_qs(asked[2].query) == {"repo": ["x"], "tag": ["y"]}
    nameless = FakeEngine()
    run_commit(nameless, "container=c")
    assert len(nameless.sent) == 2


@pytest.mark.parametrize("body", [b"", b"null"])
def test_the_container_s_whole_configuration_is_taken_as_the_engine_does(body):
    """If the request has none; a name without a value is one that the engine does not take."""
    engine = FakeEngine()
    run_commit(engine, body=body)
    config = json.loads(engine.sent[0][1])
    assert config["Tty"] is True
    assert sorted(config["Env"]) == sorted(["B=1", "NO_PROXY=a", "EMPTY=", URI, "AWS_REGION"])


def test_what_the_client_sets_stays():
    """It sends a configuration if it changes something."""
    body = b'{"Env":["A=1","AWS_REGION=x","NO_PROXY=y"]}'
    env = json.loads(restore(body, ORIGINALS))["Env"]
    assert env == ["A=1", "AWS_REGION=x", "NO_PROXY=y", URI, "EMPTY="]


def test_an_engine_that_cannot_load_leaves_empty_variables():
    """The image is there all the same, and the log says so. Other runtimes refuse bare names."""
    engine = FakeEngine(loads=False)
    with capture_logs() as logs:
        assert run_commit(engine) == FIRST
    (event,) = logs
    assert (event["event"], event["image"]) == ("docker.commit_unclean", FIRST)
    assert list(engine.images) == [FIRST]
    (path, body, _), (tagged, *_) = engine.sent[-2:]
    assert (path.startswith("/commit"), tagged.startswith(f"/images/{FIRST}/tag")) == (True, True)
    env = json.loads(body)["Env"]
    assert sorted(env) == sorted(["B=1", "NO_PROXY=a", "EMPTY=", f"{URI}="])


@pytest.mark.parametrize("answer", [b"", b"[]", b"{}"])
def test_an_engine_that_names_no_image_is_an_error(answer):
    """The client gets one too."""
    engine = FakeEngine()

    async def send(*_, **__):
        return answer

    engine.send = send
    with pytest.raises(EngineError, match="named no image"):
        run_commit(engine)


@pytest.mark.parametrize("refused", ["/commit", "/tag"])
def test_what_the_engine_refuses_leaves_no_image(refused):
    """The error is the engine's own."""
    engine = FakeEngine(refused=refused)
    if refused == "/commit":
        engine.images.clear()
    with pytest.raises(Refused) as error:
        run_commit(engine)
    assert (error.value.status, error.value.words) == (409, "no")
    assert engine.images == {}


def test_an_image_that_cannot_be_removed_is_named():
    """The client has its image."""
    engine = FakeEngine()

    async def delete(_):
        raise EngineError("in use")

    engine.delete = delete
    with capture_logs() as logs:
        assert run_commit(engine) != FIRST
    assert [(one["event"], one["image"]) for one in logs] == [("docker.commit_unclean", FIRST)]


@pytest.mark.parametrize(
    ("sizes", "layers", "expected"),
    [
        ((0, 0), 2, None),
        ((5, 0), 1, [False, True]),
        ((5, 0), 2, [False, False]),
        ((5, 5), 1, []),
    ],
    ids=["ambiguous", "by size", "by instruction", "contradictory"],
)
def test_a_history_whose_layers_cannot_be_told_is_left_out(sizes, layers, expected):
    """The engine would not read an image whose history has more layers than itself."""
    steps = [{"Created": 1, "CreatedBy": "WORKDIR /x", "Size": size} for size in reversed(sizes)]
    described = {**DESCRIBED, "RootFS": {"Layers": ["sha256:a"] * layers}}
    document = describe(described, steps, ORIGINALS)
    found = [one.get("empty_layer", False) for one in document.get("history", [])]
    assert found == (expected if expected is not None else [False, False])
