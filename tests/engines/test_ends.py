"""After a job nothing of it stays at a real engine, and until then it is kept within its bounds."""

from __future__ import annotations

import hashlib
import shlex
import signal
import uuid
from typing import TYPE_CHECKING

import pytest

from local import aws
from tests.engines import proxied
from tests.engines.engine import EMPTY, USERLAND, Failed
from tests.support.walls import PROBE, UNMENDED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engines.engine import Engine
    from tests.engines.places import Place
    from tests.engines.proxied import ProxiedLife

pytestmark = [pytest.mark.docker, pytest.mark.root]

CANCELLED = 22
BUDGET = {"SIDECAR_STOP_TIMEOUT": "120"}
"""A busy engine takes long to remove five containers; the second signal waits for no job."""
PORT = "18080"
FOREIGN = "foreign"
WAIT = (EMPTY, "sleep", "600")

LISTS = {
    "containers": ("ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.Names}}"),
    "networks": ("network", "ls", "--no-trunc", "--format", "{{.ID}} {{.Name}}"),
    "volumes": ("volume", "ls", "--format", "{{.Name}}"),
    "images": ("images", "--no-trunc", "--format", "{{.ID}} {{.Repository}}:{{.Tag}}"),
}


def list_objects(engine: Engine) -> dict[str, set[str]]:
    """Return everything that the engine has, by kind."""
    return {kind: set(engine.docker(*argv).splitlines()) for kind, argv in LISTS.items()}


@pytest.fixture
def foreign(engine: Engine) -> Iterator[None]:
    """Make a container, a network and a volume that are another task's."""
    engine.docker("network", "create", FOREIGN)
    engine.docker("volume", "create", FOREIGN)
    volume, network = f"--volume={FOREIGN}:/data", f"--network={FOREIGN}"
    engine.docker("run", "--detach", "--name", FOREIGN, volume, network, *USERLAND, *WAIT)
    try:
        yield
    finally:
        engine.docker("rm", "--force", FOREIGN)
        engine.docker("network", "rm", FOREIGN)
        engine.docker("volume", "rm", FOREIGN)


def create_objects(life: ProxiedLife) -> None:
    """Create what a job with services and actions leaves, with what others have in between."""
    docker = life.engine.docker
    docker("network", "create", "job")
    docker("volume", "create", "job")
    docker("volume", "create", FOREIGN)  # it is there already: the answer is the same
    service = ("--network=job", "--volume=service:/data", "--volume=/anonymous", "--name=service")
    docker("run", "--detach", *service, *USERLAND, *WAIT)
    docker("run", "--detach", f"--volume={FOREIGN}:/data", *USERLAND, *WAIT)
    docker("run", "--detach", f"--publish=127.0.0.1:{PORT}:80", *USERLAND, *WAIT)
    docker("create", *USERLAND, *WAIT)
    inner = ("docker", "run", "--detach", *USERLAND, *WAIT)
    socket = ("--volume", "/var/run/docker.sock:/var/run/docker.sock")
    docker("run", "--rm", *socket, *USERLAND, EMPTY, *inner)
    text = (life.running.root / ".runner").read_bytes().removeprefix(b"\xef\xbb\xbf")
    label = hashlib.sha256(text).hexdigest()[:6]
    dockerfile = f"FROM {EMPTY}\nENV BUILT={uuid.uuid4()}\n".encode()
    docker("build", "--tag", f"{label}:{uuid.uuid4().hex}", "-", text=dockerfile)


def is_free(engine: Engine) -> bool:
    """Return whether the next job may publish the same port."""
    try:
        publish = f"--publish=127.0.0.1:{PORT}:80"
        engine.docker("run", "--rm", publish, *USERLAND, EMPTY, "true")
    except Failed:
        return False
    return True


def stop(life: ProxiedLife) -> None:
    """Stop the agent at once, by two signals; wait for its end."""
    life.running.life.signal(signal.SIGTERM)
    life.running.wait_for_event("stop.requested")  # of two that wait the kernel makes one
    life.running.life.signal(signal.SIGTERM)
    life.running.wait_for_event("life.ended")


@pytest.mark.usefixtures("foreign")
def test_nothing_of_a_stopped_job_stays(place: Place) -> None:
    """What was there before, and other tasks' objects of the same names, are untouched."""
    before = list_objects(place.engine)
    with proxied.run_proxied(place, code=CANCELLED, **BUDGET) as life:
        create_objects(life)
        created = list_objects(place.engine)
        assert all(created[kind] > before[kind] for kind in before)
        assert not is_free(place.engine)
        stop(life)
        (event,) = life.running.life.find_events("docker.objects_removed")
        assert (event["containers"], event["networks"]) == (5, 1)
        assert (event["volumes"], event["images"]) == (2, 1)
        assert list_objects(place.engine) == before
        assert is_free(place.engine)
    state = place.engine.docker("inspect", "--format", "{{.State.Running}}", FOREIGN)
    assert state.strip() == "true"


@pytest.mark.usefixtures("foreign")
def test_the_next_life_removes_what_a_killed_one_left(place: Place) -> None:
    """The ids were written down before the job knew them."""
    before = list_objects(place.engine)
    with proxied.share_folder(place.engine) as shared:
        with proxied.run_proxied(place, shared=shared, code=-signal.SIGKILL) as life:
            create_objects(life)
            life.running.life.signal(signal.SIGKILL)
        assert list_objects(place.engine) != before
        with proxied.run_proxied(place, shared=shared) as life:
            find_events = life.running.life.find_events
            life.running.wait_for_event("docker.folder_removed")
            (event,) = find_events("docker.objects_removed")
            assert event["killed_agent"]
            assert list_objects(place.engine) == before
            assert is_free(place.engine)
        assert list(shared.iterdir()) == []


def test_without_cleanup_everything_stays_and_is_named(place: Place) -> None:
    """With SIDECAR_DOCKER_CLEANUP=off."""
    with proxied.run_proxied(place, SIDECAR_DOCKER_CLEANUP="off", code=CANCELLED) as life:
        container = life.engine.docker("run", "--detach", *USERLAND, *WAIT).strip()
        stop(life)
        (event,) = life.running.life.find_events("docker.objects_kept")
    assert event["objects"] == [f"container {container[:12]}"]
    assert place.engine.docker("rm", "--force", container).strip() == container


def test_a_step_may_clean_up_after_itself(place: Place) -> None:
    """At the interrupt: the daemon answers as before, and the work folder is still there."""
    trap = (
        """trap 'docker rm --force mine >"$LIFE_FOLDER/seen" 2>&1; """
        """ls -d "$GITHUB_WORKSPACE" >>"$LIFE_FOLDER/seen" 2>&1; exit 1' INT\n"""
        f"docker run --detach --name mine {shlex.join((*USERLAND, *WAIT))}"
    )
    with proxied.run_proxied(place, before_gate=trap, code=CANCELLED, **BUDGET) as life:
        stop(life)
        seen = (life.running.root.parent / "seen").read_text().splitlines()
        assert seen[0] == "mine"
        assert seen[1].startswith(str(life.shared))


def test_an_image_of_a_job_s_container_has_no_credentials(place: Place) -> None:
    """`docker commit` takes a container's variables over: but a container of it has its own."""
    with proxied.run_proxied(place) as life:
        docker = life.engine.docker
        uri = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
        first = docker("run", "--detach", "--env=KEPT=1", *USERLAND, *WAIT).strip()
        (path,) = docker("exec", first, "printenv", uri).split()
        docker("commit", "--change", "ENV CHANGED=1", first, "committed")
        baked = docker("inspect", "--format", "{{json .Config.Env}}", "committed")
        assert path not in baked
        assert '"KEPT=1"' in baked
        assert '"CHANGED=1"' in baked
        assert "AWS_EC2_METADATA_DISABLED=true" not in baked
        again = life.engine.docker_run(*USERLAND, "committed", "env").splitlines()
        (own,) = (line for line in again if line.startswith(uri))
        assert own.startswith(f"{uri}=/v2/credentials/")
        assert own != f"{uri}={path}"
        assert "AWS_EC2_METADATA_DISABLED=true" in again
        docker("rm", "--force", first)
        docker("rmi", "committed")


# --- the walls ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mended", [True, False], ids=["mended", "unmended"])
def test_the_walls_stand_until_all_of_the_job_is_dead(place: Place, mended: bool) -> None:
    """A step that ignores the interrupt, a daemon of it and a container never get another role.

    They ask for the task's credentials and the instance's without a pause. An agent that removes
    the rules at the interrupt gives them the task's.
    """
    role = f"arn:aws:iam::{aws.ACCOUNT}:role/job"
    metadata = "http://169.254.169.254/latest/meta-data/iam/security-credentials/"
    urls = (f"http://169.254.170.2{place.task.relative_uri}", metadata)
    with proxied.share_folder(place.engine) as shared:
        (shared / "probe.py").write_text(PROBE)
        (shared / "probe.py").chmod(0o644)
        found = [shared / name for name in ("step", "daemon", "container")]
        for path in found:
            path.touch()
            path.chmod(0o666)
        step, daemon, container = (
            shlex.join(("python3", str(shared / "probe.py"), str(path), *urls)) for path in found
        )
        mount = shlex.join((f"--volume={shared}:{shared}", *USERLAND, EMPTY))
        before_gate = (
            f"trap '' INT TERM\n{step} >/dev/null &\nsetsid {daemon} >/dev/null 2>&1 &\n"
            f"docker run --detach {mount} {container}\n"
            f"while [ ! -s {found[0]} -o ! -s {found[1]} -o ! -s {found[2]} ]; do :; done"
        )
        asked = len(place.task.instance_requests())
        options = {} if mended else {"argv": UNMENDED}
        with proxied.run_proxied(
            place,
            shared=shared,
            before_gate=before_gate,
            code=CANCELLED,
            SIDECAR_JOB_ROLE_ARN=role,
            **options,
        ) as life:
            stop(life)
            left = list_objects(place.engine)["containers"]
        said = {path.name: set(path.read_text().split()) for path in found}
        stolen = {name for name, answers in said.items() if "200" in answers}
        reached = len(place.task.instance_requests()) - asked
        if mended:
            assert (stolen, reached) == (set(), 0), said
            assert not left
        else:
            assert {"step", "daemon"} <= stolen, said
