"""Check what the images contain: sizes, owners, tools, and what no job can change."""

import json

import pytest

from tests.images.building import DIND, RUNNER

pytestmark = [pytest.mark.docker, pytest.mark.root]

HOME = "/opt/runner-sidecar"
MOST = 60_000_000
"""The most bytes that the agent may add to an image."""
BOTH = pytest.mark.parametrize("image", [RUNNER, DIND], ids=["runner", "dind"])

EVIL = "import sys; sys.exit('another program')"


def run_script(place, script, *options, image=RUNNER):
    """Run a shell script in an image, without its first program; returns its output."""
    found = ("run", "--rm", "--network=none", "--entrypoint=sh", *options, image, "-ec", script)
    return place.engine.docker(*found)


@pytest.fixture(scope="module")
def configs(place):
    """Return the configurations of both images."""
    found = json.loads(place.engine.docker("image", "inspect", RUNNER, DIND))
    return {name: one["Config"] for name, one in zip((RUNNER, DIND), found, strict=True)}


def test_the_agent_adds_less_than_60_mb(place, record_property):
    """The size on the disk is that of its virtual environment, with compiled libraries."""
    size = int(run_script(place, f"du -sk {HOME}").split()[0]) * 1024
    record_property("the agent on the image's disk", f"{size / 1e6:.1f} MB")
    assert size < MOST


@BOTH
def test_the_first_program_its_stop_signal_and_health_check(configs, image):
    """TERM stops it, and the health check is the agent's own command."""
    config = configs[image]
    assert config["Entrypoint"] == ["/usr/local/bin/runner-start"]
    assert not config.get("Cmd")
    assert config["StopSignal"] == "SIGTERM"
    assert config["Healthcheck"]["Test"] == ["CMD", "runner-sidecar", "health"]
    assert not config["User"]


def test_labels_describe_the_image(configs):
    """It has the labels that OCI names, and the runner's version."""
    labels = configs[RUNNER]["Labels"]
    for name in ("title", "description", "licenses", "version", "revision", "base.name"):
        assert labels[f"org.opencontainers.image.{name}"]
    assert labels["com.github.actions.runner.version"].count(".") == 2


def test_only_one_image_has_the_daemon(place, configs):
    """In it the usual socket path is free for the proxy, and docker's images have a volume."""
    look = "for name in dockerd containerd runc; do command -v $name || echo no $name; done"
    assert run_script(place, look).splitlines() == ["no dockerd", "no containerd", "no runc"]
    assert "no " not in run_script(place, f"{look}; test ! -e /var/run/docker.sock", image=DIND)
    assert "/var/lib/docker" in configs[DIND]["Volumes"]
    assert "DOCKER_HOST=unix:///run/runner-sidecar/docker.sock" in configs[DIND]["Env"]


@BOTH
def test_tools_of_a_job(place, image):
    """The runner's user can run the tools that workflows expect."""
    tools = "git --version; jq --version; curl --version; docker --version; docker compose version"
    said = run_script(
        place,
        f"{tools}; docker buildx version; /usr/sbin/iptables --version;"
        " docker-credential-ecr-login -v",
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
        "amazon-ecr-credential-helper",
    ):
        assert name in said


def test_the_runner_s_user_has_no_more_than_it_needs(place):
    """The user has a fixed number, only its own group, and no sudo."""
    assert run_script(place, "id runner", image=DIND) == (
        "uid=1001(runner) gid=1001(runner) groups=1001(runner)\n"
    )
    assert run_script(place, "command -v sudo || echo none") == "none\n"


@BOTH
def test_no_job_can_write_to_the_agent_or_the_runner_s_program(place, image):
    """A job can add files to the runner's folder, but not replace what is in it."""
    paths = f"{HOME} /etc /usr /home/runner/bin /home/runner/externals"
    look = f"find {paths} -type d ! -readable -prune -o ! -type l -writable -print"
    assert run_script(place, look, "--user=runner", image=image) == ""
    assert run_script(place, "stat -c '%U:%G %a' /home/runner") == "root:runner 1775\n"


@BOTH
def test_root_s_own_place_for_the_runner_s_program_takes_no_room(place, image):
    """It has the same files by links of the image's own layer; the runner's user cannot enter."""
    look = "stat -c '%U %a' /home/runner/.sidecar-private; cd /home/runner; "
    count = "find bin -type f | wc -l; find .sidecar-private -type f -links +1 | wc -l; "
    inodes = "stat -c %i bin/Runner.Listener .sidecar-private/bin/Runner.Listener"
    mode, files, linked, *same = run_script(place, look + count + inodes, image=image).splitlines()
    assert mode == "root 700"
    assert int(files) == int(linked) > 2
    assert len(set(same)) == 1
    refused = "ls /home/runner/.sidecar-private 2>/dev/null || echo refused"
    assert run_script(place, refused, "--user=runner", image=image) == "refused\n"


def test_the_runner_s_home_has_a_folder_for_configurations(place):
    """It is the runner's: its program keeps a cache there, or takes a second more without it."""
    assert run_script(place, "stat -c '%U:%G %a' /home/runner/.config") == "runner:runner 755\n"


@pytest.mark.parametrize(
    "variable", ["PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONPLATLIBDIR"]
)
def test_no_variable_or_folder_changes_the_agent_s_code(place, variable):
    """Neither Python's variables, the working directory nor the user's packages are used."""
    script = (
        "mkdir -p /tmp/evil/lib && cd /tmp/evil && for name in sidecar json asyncio sitecustomize; "
        f'do echo "{EVIL}" >$name.py; done; '
        "site=$HOME/.local/lib/python3.13/site-packages; mkdir -p $site; cp sidecar.py $site/; "
        f"export {variable}=/tmp/evil; runner-sidecar version"
    )
    (version,) = run_script(place, script, "--env=HOME=/tmp/home").splitlines()
    assert version.count(".") == 2


def test_the_agent_is_compiled_and_without_pip(place):
    """It starts fast for users who cannot write its folder, and nothing can be added to it."""
    count = f"find {HOME}/lib -name '*.py' | wc -l; find {HOME}/lib -name '*.cpython-*.pyc' | wc -l"
    sources, compiled = map(int, run_script(place, count).split())
    assert compiled == sources > 500
    names = run_script(place, f"ls {HOME}/bin {HOME}/lib/python3*/site-packages")
    assert "pip" not in names.split()
    assert "__pycache__" in run_script(place, "ls /home/runner/bin/lib/runner_program"), (
        "not warmed up"
    )


def test_botocore_knows_only_the_services_that_are_called(place):
    """The data of all other services, most of its size, is removed."""
    program = (
        "from botocore.session import Session; s = Session(); "
        "print(*sorted(s.get_available_services())); "
        "[s.create_client(n, region_name='eu-central-1') for n in s.get_available_services()]"
    )
    assert run_script(place, f'{HOME}/bin/python -I -c "{program}"') == "secretsmanager ssm sts\n"
