"""The image for Windows: what its Dockerfile says, and the programs that its build runs."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import re
import runpy
import sys
import threading
import zipfile
from contextlib import contextmanager
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
README = (FOLDER / "README.md").read_text()
DOWNLOADS = read_downloads()
LINUX = (ROOT / "images" / "ubuntu" / "Dockerfile").read_text()
DEFINITIONS = sorted((ROOT / "task-definitions").glob("windows-*/task-definition.json"))

each_download = pytest.mark.parametrize(
    "download", DOWNLOADS, ids=[one.checksum.strip("%") for one in DOWNLOADS]
)


# --- the Dockerfile -------------------------------------------------------------------------------


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
    project = (ROOT / "pyproject.toml").read_text()
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
    project = (ROOT / "pyproject.toml").read_text()
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
        for container in json.loads(path.read_text())["containerDefinitions"]
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


# --- unpack.py ------------------------------------------------------------------------------------


class Server(http.server.BaseHTTPRequestHandler):
    """Answers each request with the next of `answers`."""

    answers: list = []  # noqa: RUF012  one list for each server

    def do_GET(self):
        """Answer."""
        status, body = self.answers.pop(0)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Say nothing."""


@contextmanager
def serving(*answers):
    """Serve these answers, one after the other; yields an address, and the answers left."""
    left = list(answers)
    handler = type("Handler", (Server,), {"answers": left})
    with http.server.HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/archive.zip", left
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def unpack():
    """Return what unpack.py defines."""
    return runpy.run_path(str(FOLDER / "unpack.py"), run_name="unpack")


def archive():
    """Return a small archive, and its checksum."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as opened:
        opened.writestr("bin/Runner.Listener.exe", "program")
    return made.getvalue(), hashlib.sha256(made.getvalue()).hexdigest()


def test_an_archive_with_its_checksum_is_unpacked(unpack, tmp_path):
    """In upper or lower case; and nothing else is left."""
    content, checksum = archive()
    with serving((200, content)) as (url, _):
        unpack["unpack"](checksum.upper(), tmp_path / "made", url)
    assert [*tmp_path.rglob("*.exe")] == [tmp_path / "made" / "bin" / "Runner.Listener.exe"]
    assert [*tmp_path.iterdir()] == [tmp_path / "made"]


def test_another_archive_is_refused(unpack, tmp_path):
    """Nothing of it is unpacked; both checksums are named."""
    content, checksum = archive()
    wrong = "0" * 64
    with serving((200, content)) as (url, _), pytest.raises(SystemExit) as ended:
        unpack["unpack"](wrong, tmp_path / "made", url)
    assert ended.value.code == f"cannot use {url}: its SHA-256 is {checksum}, not {wrong}"
    assert not (tmp_path / "made").exists()


def test_a_server_that_fails_is_asked_again(unpack, tmp_path):
    """Some times, and then what it said is the error; an answer that will not change ends it."""
    content, checksum = archive()
    with serving((503, b""), (502, b""), (200, content)) as (url, left):
        assert unpack["download"](url, tmp_path / "file", pause=0) == checksum
        assert left == []
    with serving(*[(500, b"")] * 4) as (url, left):
        with pytest.raises(OSError, match="500"):
            unpack["download"](url, tmp_path / "file", pause=0)
        assert left == []
    with serving((404, b""), (200, content)) as (url, left):
        with pytest.raises(SystemExit, match=r"cannot download http://.*: .*404"):
            unpack["unpack"](checksum, tmp_path / "made", url)
        assert len(left) == 1


# --- install.py -----------------------------------------------------------------------------------


@pytest.fixture
def install():
    """Return what install.py defines."""
    return runpy.run_path(str(FOLDER / "install.py"), run_name="install")


def test_what_never_runs_is_removed(install, tmp_path):
    """Descriptions of services that the agent does not call, sources, and other programs."""
    kept = [
        *("botocore/data/ssm/service-2.json.gz", "botocore/data/sts/service-2.json.gz"),
        *("botocore/data/endpoints.json", "aiohttp/client.py", "aiohttp/_http.pyd"),
    ]
    removed = [
        *("botocore/data/ec2/service-2.json.gz", "bin/runner-launcher.exe"),
        *("aiohttp/_http.pyx", "aiohttp/py.pyi", "aiohttp/_http.c", "cffi/parser.h"),
    ]
    for name in (*kept, *removed):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    install["remove_unused"](tmp_path)
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert left == sorted(kept)


def test_the_services_are_those_that_the_agent_calls(install):
    """The image for Linux keeps the same descriptions."""
    script = (ROOT / "images" / "ubuntu" / "install").read_text()
    assert set(install["SERVICES"]) == set(re.findall(r"! -name (\w+)", script.split("strip")[0]))


def test_the_program_finds_the_python_beside_it(install):
    """It has no path in it, so that its folder can be copied from stage to stage."""
    made = install["build_launcher"]()
    assert made.startswith(b"MZ")
    assert b'#!"<launcher_dir>\\python.exe"\r\n' in made
    with zipfile.ZipFile(io.BytesIO(made)) as opened:
        assert opened.namelist() == ["__main__.py"]
        assert b"run_module('sidecar', run_name='__main__')" in opened.read("__main__.py")


def test_a_python_of_another_version_is_refused(install, tmp_path):
    """Its compiled libraries would not load; the error comes before anything is installed."""
    (tmp_path / "python39._pth").touch()
    with pytest.raises(SystemExit) as ended:
        install["install"](tmp_path)
    name = f"python{sys.version_info.major}{sys.version_info.minor}"
    assert ended.value.code == f"cannot install into {tmp_path}: its Python is not {name}"
    assert [*tmp_path.iterdir()] == [tmp_path / "python39._pth"]
