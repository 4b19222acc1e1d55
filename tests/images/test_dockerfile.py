"""Check the Dockerfile's text: what it downloads, and what it copies of the repository."""

import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from local.runner import install
from sidecar import host
from sidecar.runner.folder import PRIVATE

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "images" / "ubuntu"
DOCKERFILE = (FOLDER / "Dockerfile").read_text()


def find_default(name):
    """Return the default of an argument."""
    return re.search(rf"^ARG {name}=(.*)$", DOCKERFILE, re.MULTILINE)[1]


def test_any_builder_can_read_it():
    """It needs no frontend that must be pulled, and its base can be changed."""
    assert "syntax=" not in DOCKERFILE
    assert find_default("BASE_IMAGE") == "ubuntu:24.04"
    assert "FROM ${BASE_IMAGE} AS system" in DOCKERFILE


@pytest.mark.parametrize(("architecture", "archive"), [("amd64", "x64"), ("arm64", "arm64")])
def test_downloads_have_checksums(architecture, archive):
    """The runner's archive must have the checksum of its release notes."""
    sum_ = f"RUNNER_SHA256_{architecture.upper()}"
    assert re.fullmatch(r"[0-9a-f]{64}", find_default(sum_))
    assert f"ADD --checksum=sha256:${{{sum_}}}" in DOCKERFILE
    assert f"actions-runner-linux-{archive}-${{RUNNER_VERSION}}.tar.gz" in DOCKERFILE
    assert DOCKERFILE.count("https://") == 2


def test_a_build_sees_only_what_it_copies():
    """Other files of a checkout do not change the build."""
    ignored, *let_in = (FOLDER / "Dockerfile.dockerignore").read_text().split()
    assert ignored == "*"
    seen = {name.removeprefix("!") for name in let_in if name.startswith("!")}
    copied = {
        word.rstrip("/")
        for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
        for word in line.split()[:-1]
        if not word.startswith("--")
    }
    copied |= set(re.findall(r"type=bind,source=([^,]+)", DOCKERFILE))
    assert {path for path in copied if not (ROOT / path).exists()} == set()
    assert {path for path in copied if not {path, *map(str, Path(path).parents)} & seen} == set()
    assert {path for path in seen if not any(one.startswith(path) for one in copied)} == set()


@pytest.mark.root
def test_the_runner_is_laid_out_with_a_place_for_root(tmp_path):
    """Only root can enter it; it has the program by hard links, which the agent then finds.

    Compiled programs that have secrets can be read by root alone.
    """
    unpacked, root = tmp_path / "unpacked", tmp_path / "runner"
    install(unpacked)
    shutil.copyfile("/bin/true", unpacked / "bin" / "Runner.Worker")
    subprocess.run([FOLDER / "unpack", unpacked, root], check=True, capture_output=True)
    private = root / PRIVATE
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert host.provide_private_program(root, private) == "found"
    assert stat.S_IMODE((root / "bin/Runner.Worker").stat().st_mode) == 0o711
    assert stat.S_IMODE((root / host.LISTENER).stat().st_mode) == 0o755  # a script here


def test_the_last_target_is_the_runner():
    """Without a target one gets the image without a daemon."""
    targets = re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE)
    assert targets[-2:] == ["dind", "runner"]


def test_the_runner_s_home_has_a_folder_for_configurations():
    """Without it, every start of the runner's program takes about a second more."""
    made = "install --directory --owner=runner --group=runner --mode=755 /home/runner/.config"
    assert made in DOCKERFILE
