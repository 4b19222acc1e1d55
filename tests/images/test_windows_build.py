"""A real docker builder reads the Dockerfile for Windows to its end, where cmd.exe is a stand-in.

It is the classic builder, the only one that docker has for Windows containers. What it copies of
the repository is there, arguments reach the commands, and the image has the configuration.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import tarfile
import threading
from pathlib import Path

import pytest

from tests.engines import engine, roots, spaces
from tests.images.building import there
from tests.images.windows_dockerfile import DEFAULTS, FINAL, FOLDER, ROOT, STAGES

pytestmark = [pytest.mark.docker, pytest.mark.root]

BASE, IMAGE = "windows-stand-in", "ecs-runner-sidecar:windows"
STAND_IN = Path(__file__).parent / "windows_base" / "cmd"
PROGRAMS = ("usr/bin/dash", "usr/bin/sleep")
WOULD_RUN = "would run: "
TIMEOUT = 300.0
MADE = (
    "C:/actions-runner/bin/Runner.Listener.exe",
    "C:/Program Files/git/cmd/git.exe",
    "C:/Program Files/runner-sidecar/python.exe",
    "C:/Program Files/docker/docker.exe",
    "C:/Program Files/docker/cli-plugins/docker-compose.exe",
)
"""What the commands would have made, and docker's image holds."""


def pack_base(root):
    """Return the archive of an image with a shell, the stand-in, and what a build would make."""
    packed = io.BytesIO()
    loaders = (root / "usr" / "lib64").glob("ld-*")
    libraries = [*(root / "usr" / "lib").rglob("libc.so*"), *(root / "usr" / "lib").rglob("ld-*")]
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for link, target in (("bin", "usr/bin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")):
            member = tarfile.TarInfo(link)
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
        for path in (*(root / name for name in PROGRAMS), *libraries, *loaders):
            archive.add(path, str(path.relative_to(root)))
        for name in ("usr/bin/sh", "usr/bin/cmd"):
            source = root / PROGRAMS[0] if name.endswith("sh") else STAND_IN
            archive.add(source.resolve(), name)
        for name in MADE:
            archive.addfile(tarfile.TarInfo(name))
    return packed.getvalue()


def copy_context(folder):
    """Copy what the Dockerfile copies: to send a whole checkout takes a minute."""
    for stage in STAGES:
        for one in stage.find("COPY"):
            for name in one.words[:-1] if one.source_stage is None else ():
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                if (ROOT / name).is_dir():
                    shutil.copytree(ROOT / name, target, dirs_exist_ok=True)
                else:
                    shutil.copy(ROOT / name, target)
    shutil.copy(FOLDER / "Dockerfile", folder / "Dockerfile")


def build(docker, context, arguments):
    """Build the image; return what the build said. Each command ends when it has been heard."""
    given = (f"--build-arg={name}={value}" for name, value in arguments.items())
    argv = docker.command(
        *("build", "--network=none", "--tag", IMAGE, *given, context), env={"DOCKER_BUILDKIT": "0"}
    )
    said = []
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as building:
        watchdog = threading.Timer(TIMEOUT, building.kill)
        watchdog.start()
        for line in building.stdout:
            said.append(line)
            if WOULD_RUN in line:
                # A command may be heard before its container is listed as running.
                while not (running := docker.docker("ps", "--quiet").split()):
                    assert building.poll() is None, said
                docker.docker("kill", "--signal=TERM", *running)
        watchdog.cancel()
    assert building.returncode == 0, said
    return "".join(said)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Return what the build said, and the image's configuration."""
    context = tmp_path_factory.mktemp("context")
    copy_context(context)
    root = roots.create()
    options = ("--bridge=none", "--iptables=false", "--ip6tables=false")
    with spaces.create() as space, engine.start(space, root, root, *options) as docker:
        docker.docker("import", "-", BASE, text=pack_base(root))
        arguments = {name: BASE for name in DEFAULTS if name.endswith("_IMAGE")}
        arguments |= {"WINDOWS": "ltsc2025", "STOP_TIMEOUT": "77", "VERSION": "1.2.3"}
        said = build(docker, there(context), arguments)
        yield said, json.loads(docker.docker("image", "inspect", IMAGE))[0]["Config"]


def test_the_builder_reads_all_of_it(built):
    """Every stage is built, and every command gets the values of its arguments."""
    commands = re.findall(f"{WOULD_RUN}(.*)", built[0])
    assert len(commands) == 6
    assert not [command for command in commands if "%" in command.replace("%PATH%", "")]
    runner = f"actions-runner-win-x64-{DEFAULTS['RUNNER_VERSION']}.zip"
    assert commands[0].startswith(rf"python \build\unpack.py {DEFAULTS['RUNNER_SHA256']} ")
    assert commands[0].endswith(f"/v{DEFAULTS['RUNNER_VERSION']}/{runner}")
    (registry,) = [command for command in commands if "WaitToKillServiceTimeout" in command]
    assert "/t REG_SZ /d 77000 /f" in registry


def test_the_image_says_how_it_is_run(built):
    """The first program and the health check have no shell before them; the labels have values."""
    config = built[1]
    assert config["Entrypoint"] == FINAL.find("ENTRYPOINT")[0].words
    assert config["Healthcheck"]["Test"][0] == "CMD"
    assert config["Healthcheck"]["Test"][1].endswith("runner-sidecar.exe")
    assert not config["Cmd"]
    labels = config["Labels"]
    assert labels["org.opencontainers.image.version"] == "1.2.3"
    assert labels["org.opencontainers.image.base.name"] == BASE
    assert labels["com.github.actions.runner.version"] == DEFAULTS["RUNNER_VERSION"]
