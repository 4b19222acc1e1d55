"""The Dockerfile as it is read: what it downloads, and what it is given of the repository."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "images" / "ubuntu"
DOCKERFILE = (FOLDER / "Dockerfile").read_text()


def argument(name):
    """Give an argument's default."""
    return re.search(rf"^ARG {name}=(.*)$", DOCKERFILE, re.MULTILINE)[1]


def test_any_builder_can_read_it():
    """It asks for no frontend that would have to be pulled, and its base can be another."""
    assert "syntax=" not in DOCKERFILE
    assert argument("BASE_IMAGE") == "ubuntu:24.04"
    assert "FROM ${BASE_IMAGE} AS system" in DOCKERFILE


@pytest.mark.parametrize(("architecture", "archive"), [("amd64", "x64"), ("arm64", "arm64")])
def test_nothing_is_downloaded_unseen(architecture, archive):
    """The runner's archive must be the one of its version's release notes."""
    sum_ = f"RUNNER_SHA256_{architecture.upper()}"
    assert re.fullmatch(r"[0-9a-f]{64}", argument(sum_))
    assert f"ADD --checksum=sha256:${{{sum_}}}" in DOCKERFILE
    assert f"actions-runner-linux-{archive}-${{RUNNER_VERSION}}.tar.gz" in DOCKERFILE
    assert DOCKERFILE.count("https://") == 2


def test_a_build_sees_what_it_copies_and_no_more():
    """So that it is the same from any checkout, whatever else lies in there."""
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


def test_the_last_target_is_the_runner():
    """Whoever names no target gets the one without a daemon."""
    targets = re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE)
    assert targets[-2:] == ["dind", "runner"]
