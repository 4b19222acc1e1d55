"""A job with containers, as the actions runner starts them, in both layouts of docker in docker.

The daemon beside the agent has the same files, and the proxy stands where its socket is looked
for. The daemon elsewhere shares one folder with the agent and nothing else.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from local import aws
from tests.engines import engine as engines
from tests.engines import lives, matrix, places, proxied, tasks, workflow
from tests.engines.places import Place
from tests.lives import stage as stages
from tests.support.docker_commands import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from local.github.jobs import Job
    from tests.lives.stage import Life, Stage

pytestmark = [pytest.mark.docker, pytest.mark.root]

STOPPED = 22
"""The agent's exit code after a stop that ended a job."""
LAYOUTS = ("beside", "elsewhere")
CLIENT = "/usr/bin/docker"
"""This machine's client, which is also that of the job's runner."""


@dataclass(frozen=True)
class Layout:
    """Where an agent and its engine are, and how the agent is started there."""

    place: Place
    socket: Callable[[], Path]
    """Finds the proxy's socket while an agent runs."""
    env: dict[str, str]
    argv: Sequence[str]

    def list_left(self) -> str:
        """Return the engine's containers, and the networks of jobs."""
        networks = ("network", "ls", "--quiet", "--filter", "name=github_network")
        return self.place.engine.docker("ps", "--all") + self.place.engine.docker(*networks)


@dataclass(frozen=True)
class Seen:
    """What is known of a job that has ended."""

    job: Job
    logs: dict[str, str]
    """The output of its steps, by their names in `workflow.STEPS`, and of the runner's own."""
    socket: int
    """The number of the proxy's socket."""
    written: str
    """The text of a file that the job container has written, as the runner sees it."""
    commands: list[str]
    """The runner's docker commands, as in `workflow.COMMANDS`."""
    left: list[str]
    """What is left on the engine that was not there before."""


@contextmanager
def lay_beside(place: Place, root: Path) -> Iterator[Layout]:
    """Start an engine with the agent's files; its socket is not where clients look."""
    own = Path("/") if place.kind == places.DEBIAN_12 else root
    with (
        tasks.create() as task,
        engines.start(task.space, own, root, name="engine.sock") as engine,
        workflow.serve_images(task, root),
    ):
        engine.share(Path("/tmp"))  # noqa: S108  where a life has its files
        run = engine.folder / "run"
        # With the engine's /run, and in a namespace of its own: this machine's stays as it is.
        inside = f'mount --bind {run} /run && exec "$@"'
        argv = ("env", "unshare", "--mount", "sh", "-ec", inside, "sh", *stages.ON_UVLOOP)
        env = {"DOCKER_HOST": "unix:///run/engine.sock", "SIDECAR_DOCKER_PROXY": "on"}
        yield Layout(Place(place.kind, task, engine), lambda: run / "docker.sock", env, argv)


@contextmanager
def lay_elsewhere(place: Place, root: Path) -> Iterator[Layout]:
    """Let the agent and the engine share one folder, and no other path."""
    with (
        workflow.serve_images(place.task, root),
        proxied.share_folder(place.engine) as folder,
    ):
        env = {"SIDECAR_DOCKER_PROXY": "on", "SIDECAR_SHARED_DIR": str(folder)}

        def find_socket() -> Path:
            walk = os.walk(folder)  # it ignores what the agent removes meanwhile
            paths = (Path(here, name) for here, _, names in walk for name in names)
            (socket,) = [path for path in paths if path.is_socket()]
            return socket

        yield Layout(place, find_socket, env, stages.ON_UVLOOP)


@pytest.fixture(scope="module", params=LAYOUTS)
def layout(request: pytest.FixtureRequest, place: Place, root: Path) -> Iterator[Layout]:
    """Give each layout in turn."""
    lay = lay_beside if request.param == "beside" else lay_elsewhere
    with lay(place, root) as layout:
        yield layout


def run_job(layout: Layout, end_job: Callable[[Stage, Life, Job], int] | None = None) -> Seen:
    """Run the job to the end that `end_job` makes, and return what was seen of it."""
    recorder = Recorder(Path(tempfile.mkdtemp(prefix="recorder-")))
    recorder.install(CLIENT)
    env = {**layout.env, "PATH": f"{recorder.folder}:{engines.PATH}"}
    steps = workflow.STEPS.values()
    options = {"argv": layout.argv, "more": workflow.MORE, "end_job": end_job}
    before = layout.list_left()
    try:
        with lives.run_life(layout.place, *steps, **options, **env) as living:
            work = find_work(recorder)
            written = (work / "repo" / "repo" / "from the container").read_text()
            socket = layout.socket().stat().st_ino
        names = {str(work): "ROOT/_work", str(living.root): "ROOT", "repo/repo": "REPO/REPO"}
        commands = recorder.read(names)
    finally:
        shutil.rmtree(recorder.folder)
    left = [line for line in layout.list_left().splitlines() if line not in before]
    job = living.job
    logs = {name: step.log for name, step in zip(workflow.STEPS, job.steps, strict=False)}
    return Seen(job, {**logs, **job.runner_logs}, socket, written, commands, left)


@pytest.fixture(scope="module")
def seen(layout: Layout) -> Seen:
    """Run the job to its own end, once in each layout."""
    return run_job(layout)


def find_work(recorder: Recorder) -> Path:
    """Return the runner's work folder, which the job container has as /__w."""
    words = (word for words in recorder.commands() for word in words)
    return Path(next(word for word in words if word.endswith(":/__w")).removesuffix(":/__w"))


def find_role(said: str) -> str | None:
    """Return whose credentials were given."""
    answer = re.search(r'"RoleArn": ?"([^"]+)"', said)
    return answer[1] if answer else said


def find_path(said: str) -> str:
    """Return the path that a container was given."""
    found = re.search(rf"\b{matrix.RELATIVE_URI}=(/\S+)", said)
    assert found, said
    return found[1]


def test_the_job_succeeds(seen: Seen) -> None:
    """All its steps do, and the service has its port."""
    assert [step.result for step in seen.job.steps] == ["succeeded"] * 8, seen.job.log()
    assert seen.job.result == "succeeded"
    assert re.search(r"^8080/tcp -> .*:\d+$", seen.logs["Initialize containers"], re.MULTILINE)


def test_the_commands_are_those_of_the_real_runner(seen: Seen) -> None:
    """In its order and with its arguments, as recorded, from the first pull to the last rm."""
    assert seen.commands == workflow.COMMANDS


def test_the_daemon_mounts_what_the_runner_has(seen: Seen) -> None:
    """Workspace, temporary files and the event; both ways."""
    found = re.search(r"^hi\n/__w/repo/repo\n/github/home\n(.*)$", seen.logs["step"], re.MULTILINE)
    assert json.loads(found[1])["repository"]["full_name"] == "octo/repo"
    assert seen.written == "from within\n"
    assert "made\n" in seen.logs["action, entry"]


def test_the_raw_socket_is_out_of_reach(seen: Seen) -> None:
    """What the runner mounts as docker's socket is the proxy's, and works."""
    assert f"socket {seen.socket}\n" in seen.logs["step"]
    assert re.search(r"^engine [\d.]+", seen.logs["step"], re.MULTILINE)


def test_everything_gets_the_role(seen: Seen) -> None:
    """The job container's steps, the service, and docker actions of either kind."""
    for name in ("step, identity", "Stop containers", "action", "action, built"):
        assert find_role(seen.logs[name]) == aws.TASK_ROLE, name


def test_containers_have_paths_of_their_own(seen: Seen) -> None:
    """Job container, service, docker actions, and what a step starts with `docker run`."""
    logs = ("Initialize containers", "Stop containers", "step, container", "action")
    paths = [find_path(seen.logs[name]) for name in (*logs, "action, built")]
    assert len(set(paths)) == len(paths)
    assert find_path(seen.logs["step, identity"]) == paths[0]


def test_nothing_is_left(seen: Seen) -> None:
    """Neither a container nor a network."""
    assert seen.left == []


def test_a_cancel(layout: Layout) -> None:
    """GitHub's cancel ends the step in the job container; the runner removes what it started."""

    def cancel(stage: Stage, _: Life, job: Job) -> int:
        stage.world.cancel(job)
        return 0

    seen = run_job(layout, cancel)
    assert seen.job.result == "canceled"
    assert seen.commands == workflow.COMMANDS
    assert seen.left == []


def test_a_shutdown(layout: Layout) -> None:
    """The runner removes nothing; the agent removes what the job created."""

    def stop(_: Stage, life: Life, __: Job) -> int:
        life.signal()
        return STOPPED

    seen = run_job(layout, stop)
    assert seen.job.result == "failed"
    assert seen.commands == workflow.COMMANDS[: -workflow.REMOVALS]
    assert seen.left == []
