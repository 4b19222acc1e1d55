"""What the images are made of: sizes, owners, tools, and what no job can reach into."""

import json

import pytest

from tests.images.building import DIND, RUNNER

pytestmark = [pytest.mark.docker, pytest.mark.root]

HOME = "/opt/runner-sidecar"
MOST = 60_000_000
"""Bytes that the agent may add to an image."""
BOTH = pytest.mark.parametrize("image", [RUNNER, DIND], ids=["runner", "dind"])

EVIL = "import sys; sys.exit('another program')"


def ran(place, script, *options, image=RUNNER):
    """Run a shell's script in an image, without its first program; return what it said."""
    told = ("run", "--rm", "--network=none", "--entrypoint=sh", *options, image, "-ec", script)
    return place.engine.docker(*told)


@pytest.fixture(scope="module")
def configs(place):
    """Give the configurations of both images."""
    told = json.loads(place.engine.docker("image", "inspect", RUNNER, DIND))
    return {name: one["Config"] for name, one in zip((RUNNER, DIND), told, strict=True)}


def test_the_agent_adds_less_than_60_mb(place, record_property):
    """Its libraries, compiled, and all of its virtual environment, on the disk."""
    size = int(ran(place, f"du -sk {HOME}").split()[0]) * 1024
    record_property("the agent on the image's disk", f"{size / 1e6:.1f} MB")
    assert size < MOST


@BOTH
def test_the_first_program_and_what_it_hears(configs, image):
    """TERM stops it, and its health is asked by the agent's own command."""
    config = configs[image]
    assert config["Entrypoint"] == ["/usr/local/bin/runner-start"]
    assert not config.get("Cmd")
    assert config["StopSignal"] == "SIGTERM"
    assert config["Healthcheck"]["Test"] == ["CMD", "runner-sidecar", "health"]
    assert not config["User"]


def test_labels_say_what_it_is(configs):
    """As OCI names them, with the runner's own version."""
    labels = configs[RUNNER]["Labels"]
    for name in ("title", "description", "licenses", "version", "revision", "base.name"):
        assert labels[f"org.opencontainers.image.{name}"]
    assert labels["com.github.actions.runner.version"].count(".") == 2


def test_the_daemon_is_in_one_of_them(place, configs):
    """There, a job's socket is free for the agent's proxy, and images have a volume."""
    look = "for name in dockerd containerd runc; do command -v $name || echo no $name; done"
    assert ran(place, look).splitlines() == ["no dockerd", "no containerd", "no runc"]
    assert "no " not in ran(place, f"{look}; test ! -e /var/run/docker.sock", image=DIND)
    assert "/var/lib/docker" in configs[DIND]["Volumes"]
    assert "DOCKER_HOST=unix:///run/runner-sidecar/docker.sock" in configs[DIND]["Env"]


@BOTH
def test_tools_of_a_job(place, image):
    """What workflows take for granted is there for the runner's user."""
    tools = "git --version; jq --version; curl --version; docker --version; docker compose version"
    said = ran(
        place,
        f"{tools}; docker buildx version; /usr/sbin/iptables --version",
        "--user=runner",
        image=image,
    )
    for name in (
        "git version",
        "jq-",
        "curl ",
        "Docker version",
        "Docker Compose",
        "buildx",
        "iptables v",
    ):
        assert name in said


def test_the_runner_s_user_has_no_more_than_it_needs(place):
    """A number that does not change, no group but its own, no sudo."""
    assert ran(place, "id runner", image=DIND) == (
        "uid=1001(runner) gid=1001(runner) groups=1001(runner)\n"
    )
    assert ran(place, "command -v sudo || echo none") == "none\n"


@BOTH
def test_no_job_can_write_to_the_agent_or_the_runner_s_program(place, image):
    """Nor to what starts them; the runner's folder itself can be added to, and not replaced."""
    paths = f"{HOME} /etc /usr /home/runner/bin /home/runner/externals"
    look = f"find {paths} -type d ! -readable -prune -o ! -type l -writable -print"
    assert ran(place, look, "--user=runner", image=image) == ""
    assert ran(place, "stat -c '%U:%G %a' /home/runner") == "root:runner 1775\n"


@pytest.mark.parametrize(
    "variable", ["PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONPLATLIBDIR"]
)
def test_no_variable_or_folder_changes_what_the_agent_is(place, variable):
    """Not Python's variables, not the working directory, not the user's own packages."""
    script = (
        "mkdir -p /tmp/evil/lib && cd /tmp/evil && for name in sidecar json asyncio sitecustomize; "
        f'do echo "{EVIL}" >$name.py; done; '
        "site=$HOME/.local/lib/python3.13/site-packages; mkdir -p $site; cp sidecar.py $site/; "
        f"export {variable}=/tmp/evil; runner-sidecar version"
    )
    (version,) = ran(place, script, "--env=HOME=/tmp/home").splitlines()
    assert version.count(".") == 2


def test_the_agent_is_compiled_and_has_nothing_that_it_does_not_need(place):
    """It starts fast for a user who cannot write beside it, and there is no pip to add to it."""
    count = f"find {HOME}/lib -name '*.py' | wc -l; find {HOME}/lib -name '*.cpython-*.pyc' | wc -l"
    sources, compiled = map(int, ran(place, count).split())
    assert compiled == sources > 500
    names = ran(place, f"ls {HOME}/bin {HOME}/lib/python3*/site-packages")
    assert "pip" not in names.split()
    assert "__pycache__" in ran(place, "ls /home/runner/bin/lib/runner_program"), "not warmed up"


def test_botocore_knows_the_services_that_are_called(place):
    """And no other: what is left out is most of its size."""
    program = (
        "from botocore.session import Session; s = Session(); "
        "print(*sorted(s.get_available_services())); "
        "[s.create_client(n, region_name='eu-central-1') for n in s.get_available_services()]"
    )
    assert ran(place, f'{HOME}/bin/python -I -c "{program}"') == "secretsmanager ssm sts\n"
