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

from local import aws
from tests.engines import engine as engines
from tests.engines import lives, matrix, places, proxied, tasks
from tests.engines.engine import EMPTY, USERLAND
from tests.engines.far import ECS_AGENT
from tests.engines.places import Place
from tests.lives import stage as stages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engines.lives import RunningLife

pytestmark = [pytest.mark.docker, pytest.mark.root]

LAYOUTS = ("beside", "elsewhere")
PROGRAM = Path(__file__).with_name("workflow.py")
ACTION = "action"
"""An image with as much as a docker action needs here."""
MAKE_ACTION = f"""
cd /clients
programs="usr/bin/dash usr/bin/curl usr/bin/cat usr/bin/env"
needed=$(for each in $programs; do chroot . ldd /$each; done | grep -o '/[^ ]*' | sort -u)
tar --create --dereference --transform 's,usr/bin/dash,bin/sh,;s,usr/bin/,bin/,' \
    $programs $(printf '.%s ' $needed) | docker import - {ACTION}
"""
ASK = f'env; curl --silent --max-time 10 "http://{ECS_AGENT}${matrix.RELATIVE_URI}"; echo'
"""What every container does: tell what it was told, and who it is; a line, or no log has it."""


def step() -> str:
    """Return the job's step that does what the runner does."""
    argv = (EMPTY, json.dumps(USERLAND), ACTION, "sh", "-c", ASK)
    return f'PATH={engines.PATH} python3 "$LIFE_FOLDER/workflow.py" {shlex.join(argv)} || true'


def fetched() -> str:
    """Return the step that puts the program where the job's user can read it."""
    text = PROGRAM.read_text()
    return f"cat >\"$LIFE_FOLDER/workflow.py\" <<'PROGRAM'\n{text}\nPROGRAM\n"


@contextmanager
def beside(place: Place, root: Path) -> Iterator[tuple[Place, RunningLife, Path]]:
    """Have an agent and an engine with the same files; its own socket is not where clients look."""
    own = Path("/") if place.kind == places.DEBIAN_12 else root
    with (
        tasks.create() as task,
        engines.start(task.space, own, root, name="engine.sock") as engine,
    ):
        engine.share(Path("/tmp"))  # noqa: S108  where a life has its files
        engine.run_command("sh", "-ec", MAKE_ACTION)
        here = Place(place.kind, task, engine)
        run = engine.folder / "run"
        # With the engine's /run, and in a namespace of its own: this machine's stays as it is.
        inside = f'mount --bind {run} /run && exec "$@"'
        argv = ("env", "unshare", "--mount", "sh", "-ec", inside, "sh", *stages.ON_UVLOOP)
        told = {"DOCKER_HOST": "unix:///run/engine.sock", "SIDECAR_DOCKER_PROXY": "on"}
        with lives.run_life(here, fetched(), step(), argv=argv, **told) as living:
            yield here, living, run / "docker.sock"


@contextmanager
def elsewhere(place: Place, _: Path) -> Iterator[tuple[Place, RunningLife, Path]]:
    """Have an agent and an engine that share one folder, and no other path."""
    place.engine.run_command("sh", "-ec", MAKE_ACTION)
    with proxied.run_proxied(place, fetched(), step()) as through:
        yield place, through.running, through.socket


@pytest.fixture(scope="module", params=LAYOUTS)
def saw(request: pytest.FixtureRequest, place: Place, root: Path) -> Iterator[dict[str, Any]]:
    """Give what the job saw, by what it did; and the proxy's socket."""
    layout = beside if request.param == "beside" else elsewhere
    with layout(place, root) as (where, living, socket):
        lines = re.findall(r"SAW (\{.*\})", living.printed)
        found = {each["what"]: each["said"] for each in map(json.loads, lines)}
        assert "failed" not in found, found["failed"]
        yield {**found, "socket": socket.stat().st_ino, "place": where, "living": living}


def role(said: str) -> str | None:
    """Return whose credentials were given."""
    answer = re.search(r'"RoleArn": ?"([^"]+)"', said)
    return answer[1] if answer else said


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
    assert saw["step"].startswith("hi\n/__w/repo/repo\n/github/home\nhello{}")
    assert saw["step, written"] == "from within\n"
    assert "no node in this stand-in" in saw["node"]
    assert saw["action, entry"] == "made"


def test_the_raw_socket_is_out_of_reach(saw: dict[str, Any]) -> None:
    """What the runner mounts as docker's socket is the proxy's, and works."""
    assert f"socket {saw['socket']}\n" in saw["step"]
    assert re.search(r"^engine [\d.]+", saw["step"], re.MULTILINE)


def test_everything_gets_the_role(saw: dict[str, Any]) -> None:
    """The job container's steps, the service, and docker actions of either kind."""
    for name in ("step, argv", "service", "action", "action, built"):
        assert role(saw[name]) == aws.TASK_ROLE, name


def test_containers_have_paths_of_their_own(saw: dict[str, Any]) -> None:
    """But for docker actions, which the job's hook has given the job's own."""
    job = saw["living"].environment[matrix.RELATIVE_URI]
    inside = "\n".join(saw["job container, variables"])
    own = [path(inside), path(saw["service"]), path(saw["step, container"])]
    assert len({job, *own}) == 4
    assert path(saw["action"]) == path(saw["action, built"]) == job
