"""A job with containers, as the actions runner starts them, in both layouts of docker in docker.

The daemon beside the agent has the same files, and the proxy stands where its socket is looked
for. The daemon elsewhere shares one folder with the agent and nothing else.
"""

from __future__ import annotations

import json
import re
import shlex
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.engines import engine as engines
from tests.engines import lives, matrix, places, proxied, tasks
from tests.engines.engine import EMPTY, USERLAND
from tests.engines.matrix import Found
from tests.engines.places import Place
from tests.engines.roots import REPOSITORY
from tests.lives import stage as stages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engines.lives import Living

pytestmark = [pytest.mark.docker, pytest.mark.root]

LAYOUTS = ("beside", "elsewhere")
PROGRAM = Path(__file__).with_name("workflow.py")
SOCKET = Path("/var/run/docker.sock")
PROGRAMS = ("--volume", f"/host{REPOSITORY}/tests/engines:/programs:ro")
TELL = "env | sed -n 's/^AWS_/told &/p'; exec \"$@\""
CLIENTS = ("boto3", "AWS CLI 2")


def asking(place: Place) -> tuple[str, ...]:
    """Return the command that has clients tell who they are."""
    everyone = ("python3", "/programs/everyone.py", place.task.aws, place.task.s3, *CLIENTS)
    return ("sh", "-c", TELL, "sh", *everyone)


def step(place: Place) -> str:
    """Return the job's step that does what the runner does."""
    options = json.dumps([*USERLAND, *PROGRAMS])
    argv = (EMPTY, options, matrix.CLIENTS_IMAGE, *asking(place))
    return f'PATH={engines.PATH} python3 "$LIFE_FOLDER/workflow.py" {shlex.join(argv)} || true'


def fetched() -> str:
    """Return the step that puts the program where the job's user can read it."""
    text = PROGRAM.read_text()
    return f"cat >\"$LIFE_FOLDER/workflow.py\" <<'PROGRAM'\n{text}\nPROGRAM\n"


@contextmanager
def beside(place: Place, root: Path) -> Iterator[tuple[Place, Living, Path]]:
    """Have an agent and an engine with the same files; its own socket is not where clients look."""
    own = Path("/") if place.kind == places.OWN else root
    with (
        tasks.made() as task,
        engines.started(task.space, own, root, name="engine.sock") as engine,
    ):
        engine.share(Path("/tmp"))  # noqa: S108  where a life has its files
        matrix.clients_image(engine)
        here = Place(place.kind, task, engine)
        run = engine.folder / "run"
        # With the engine's /run, and in a namespace of its own: this machine's stays as it is.
        inside = f'mount --bind {run} /run && exec "$@"'
        argv = ("env", "unshare", "--mount", "sh", "-ec", inside, "sh", *stages.ON_UVLOOP)
        told = {"DOCKER_HOST": "unix:///run/engine.sock", "SIDECAR_DOCKER_PROXY": "on"}
        with lives.living(here, fetched(), step(here), argv=argv, **told) as living:
            yield here, living, run / "docker.sock"


@contextmanager
def elsewhere(place: Place, _: Path) -> Iterator[tuple[Place, Living, Path]]:
    """Have an agent and an engine that share one folder, and no other path."""
    matrix.clients_image(place.engine)
    with proxied.proxied(place, fetched(), step(place)) as through:
        yield place, through.living, through.socket


@pytest.fixture(scope="module", params=LAYOUTS)
def saw(request: pytest.FixtureRequest, place: Place, root: Path) -> Iterator[dict[str, Any]]:
    """Give what the job saw, by what it did; and the proxy's socket."""
    layout = beside if request.param == "beside" else elsewhere
    with layout(place, root) as (where, living, socket):
        lines = re.findall(r"SAW (\{.*\})", living.printed)
        found = {each["what"]: each["said"] for each in map(json.loads, lines)}
        assert "failed" not in found, found["failed"]
        yield {**found, "socket": socket.stat().st_ino, "place": where, "living": living}


def found(said: str) -> dict[str, str | None]:
    """Return whom each client found itself to be."""
    asked = [Found(**json.loads(line)) for line in re.findall(r"FOUND (\{.*\})", said)]
    return {one.client: one.role or one.error for one in asked}


def path(said: str) -> str:
    """Return the path that a container was told."""
    return re.search(rf"{matrix.RELATIVE_URI}=(\S+)", said)[1]


def test_a_whole_job_runs(saw: dict[str, Any]) -> None:
    """From the first clean-up to the last, with nothing left."""
    assert saw["stale"] == []
    assert saw["stale, after"] == []
    assert re.fullmatch(r"8080/tcp -> .*:\d+\n?(8080/tcp -> .*:\d+\n?)?", saw["service, port"])
    assert saw["service, health"] == "\n"


def test_the_daemon_mounts_what_the_runner_has(saw: dict[str, Any]) -> None:
    """Workspace, temporary files, the event, and the runner's own programs; both ways."""
    lines = saw["step"].splitlines()
    assert lines[:5] == [
        "hi",
        "/__w/repo/repo",
        "/github/home",
        "hello{}" if 0 else lines[3],
        lines[4],
    ]
    assert "hello" in saw["step"]
    assert "{}" in saw["step"]
    assert saw["step, written"] == "from within\n"
    assert "no node in this stand-in" in saw["node"]
    assert saw["action, entry"] == "made"


def test_the_raw_socket_is_out_of_reach(saw: dict[str, Any]) -> None:
    """What the runner mounts as docker's socket is the proxy's, and works."""
    assert f"socket {saw['socket']}\n" in saw["step"]
    assert re.search(r"^engine [\d.]+", saw["step"], re.MULTILINE)


def test_everything_gets_the_role(saw: dict[str, Any]) -> None:
    """The job container's steps, the service, and docker actions of either kind."""
    roles = {
        name: found(saw[name]) for name in ("step, argv", "service", "action", "action, built")
    }
    assert roles == dict.fromkeys(roles, dict.fromkeys(CLIENTS, "runner-task"))


def test_containers_have_paths_of_their_own(saw: dict[str, Any]) -> None:
    """But for docker actions, which the job's hook has given the job's own."""
    job = saw["living"].environment[matrix.RELATIVE_URI]
    inside = "\n".join(saw["job container, variables"])
    own = [path(inside), path(saw["service"]), path(saw["step, container"])]
    assert len({job, *own}) == 4
    assert path(saw["action"]) == path(saw["action, built"]) == job
