"""The image for Windows: what its Dockerfile says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.images.windows_dockerfile import (
    BEFORE,
    BY_NAME,
    DEFAULTS,
    FINAL,
    FOLDER,
    ROOT,
    STAGES,
    TEXT,
    read_downloads,
)

HOME = "C:\\Program Files\\runner-sidecar"
README = (FOLDER / "README.md").read_text(encoding="utf-8")
DOWNLOADS = read_downloads()
LINUX = (ROOT / "images" / "ubuntu" / "Dockerfile").read_text(encoding="utf-8")
DEFINITIONS = sorted((ROOT / "task-definitions").glob("windows-*/task-definition.json"))

each_download = pytest.mark.parametrize(
    "download", DOWNLOADS, ids=[one.checksum.strip("%") for one in DOWNLOADS]
)


def test_a_builder_without_buildkit_can_read_it():
    """Docker for Windows containers has none: no mounts, no checksums of ADD, no frontend."""
    assert TEXT.startswith("# escape=`\n")
    assert "syntax=" not in TEXT
    assert not re.search(r"--(mount|checksum|link|chmod)\b|<<", TEXT)
    assert not [one for stage in STAGES for one in stage.find("ADD")]


def test_every_base_follows_the_version_of_windows():
    """A container runs only on its own version of Windows: one argument sets it everywhere."""
    assert DEFAULTS["WINDOWS"] == "ltsc2022"
    assert DEFAULTS["BASE_IMAGE"] == "mcr.microsoft.com/windows/servercore:${WINDOWS}"
    for stage in STAGES:
        assert re.fullmatch(r"\$\{\w+_IMAGE\}", stage.base)
        assert DEFAULTS[stage.base[2:-1]].endswith("${WINDOWS}")


@each_download
def test_downloads_have_checksums(download):
    """Each archive has a version and a checksum of its own, both build arguments."""
    name = download.checksum.strip("%").removesuffix("_SHA256")
    assert download.checksum == f"%{name}_SHA256%"
    assert re.fullmatch(r"[0-9a-f]{64}", DEFAULTS[f"{name}_SHA256"])
    assert f"%{name}_VERSION%" in download.url
    assert re.fullmatch(r"[0-9.]+", DEFAULTS[f"{name}_VERSION"])


def test_nothing_else_is_downloaded():
    """Every address in the file belongs to one of those, at the same places as for Linux."""
    assert len(DOWNLOADS) == 3
    assert TEXT.count("https://") == len(DOWNLOADS)
    hosts = {one.url.split("/")[2] for one in DOWNLOADS}
    assert hosts == {"github.com", "www.python.org"}


def test_both_images_have_the_same_runner():
    """Whoever raises the version in one file raises it in the other."""
    assert f"ARG RUNNER_VERSION={DEFAULTS['RUNNER_VERSION']}\n" in LINUX


def test_the_agent_s_python_is_of_the_builder_s_version():
    """Libraries are compiled for one minor version: the builder installs those of its own."""
    assert DEFAULTS["PYTHON_IMAGE"].startswith("python:${PYTHON_VERSION}-")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    minor = ".".join(DEFAULTS["PYTHON_VERSION"].split(".")[:2])
    assert f'"Programming Language :: Python :: {minor}"' in project


def test_a_stage_declares_what_it_uses():
    """An argument that a stage does not declare is empty there, without any error."""
    for stage in STAGES:
        used = {name for one in stage.find("RUN") for name in re.findall(r"%(\w+)%", one.rest)}
        used |= {
            name for one in stage.find("LABEL") for name in re.findall(r"\$\{(\w+)\}", one.rest)
        }
        assert used - {"PATH"} <= stage.arguments, stage.name
    everywhere = set().union(*(stage.arguments for stage in STAGES))
    bases = {stage.base[2:-1] for stage in STAGES}
    referred = set(re.findall(r"\$\{(\w+)\}", " ".join(one.rest for one in BEFORE.instructions)))
    assert set(DEFAULTS) <= everywhere | bases | referred


def test_what_is_copied_is_there():
    """Of the repository: all that the agent's wheel and the build's programs need."""
    copied = [
        word
        for stage in STAGES
        for one in stage.find("COPY")
        if one.source_stage is None
        for word in one.words[:-1]
    ]
    assert [word for word in copied if not (ROOT / word).exists()] == []
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    packages = re.search(r"^packages = (\[.*\])$", project, re.MULTILINE)[1]
    assert {f"{package}/" for package in json.loads(packages)} <= set(copied)


def test_what_is_copied_between_stages_was_made_there():
    """Under the very path that it was unpacked to; docker's is that of the official image."""
    made = {(one.stage.name, one.folder) for one in DOWNLOADS}
    copied = set()
    for one in FINAL.find("COPY"):
        (source, target) = one.words
        assert Path(target).name in (Path(source).name, "docker")
        if one.source_stage != "docker-client":
            copied.add((one.source_stage, source.rstrip("/").replace("/", "\\")))
    assert copied == made
    assert set(BY_NAME) == {"parts", "agent", "docker-client", "runner"}


def test_python_itself_is_the_first_program():
    """No shell and no launcher is before it, so that the stop reaches the agent and none else."""
    (entrypoint,) = FINAL.find("ENTRYPOINT")
    assert entrypoint.words == [f"{HOME}\\python.exe", f"{HOME}\\start.py"]
    assert not FINAL.find("CMD")
    (health,) = FINAL.find("HEALTHCHECK")
    assert json.loads(health.rest.partition(" CMD ")[2]) == [
        f"{HOME}\\runner-sidecar.exe",
        "health",
    ]
    assert FINAL.find("WORKDIR")[0].rest == "C:/actions-runner"


def test_windows_waits_as_long_as_the_longest_stop_budget():
    """Without that, it ends each process 5 s after it was asked to, whatever the task says."""
    (timeout,) = [one.rest for one in FINAL.find("ARG") if one.rest.startswith("STOP_TIMEOUT=")]
    seconds = int(timeout.partition("=")[2])
    commands = " ".join(one.rest for one in FINAL.find("RUN"))
    assert "/v WaitToKillServiceTimeout /t REG_SZ /d %STOP_TIMEOUT%000 " in commands
    assert "/v ProcessShutdownTimeoutSeconds /t REG_DWORD /d %STOP_TIMEOUT% " in commands
    budgets = [
        container["stopTimeout"]
        for path in DEFINITIONS
        for container in json.loads(path.read_text(encoding="utf-8"))["containerDefinitions"]
    ]
    assert seconds == max(budgets)


def test_labels_are_those_of_the_image_for_linux():
    """Registries and scanners find the same facts in both."""
    names = re.compile(r"((?:org|com)\.[a-z.]+)=")
    (label,) = FINAL.find("LABEL")
    assert names.findall(label.rest) == names.findall(LINUX.partition("\nLABEL ")[2])


def test_the_readme_names_each_argument():
    """With its default, so far as that is not a checksum."""
    for name, default in DEFAULTS.items():
        assert f"`{name}`" in README
        if not name.endswith("SHA256"):
            assert f"`{default}`" in README or f"| {default} |" in README, name
