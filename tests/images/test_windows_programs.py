"""The programs that the build of the Windows image runs: unpack.py and install.py."""

from __future__ import annotations

import hashlib
import http.server
import io
import re
import runpy
import sys
import threading
import zipfile
from contextlib import contextmanager

import pytest

from tests.images.windows_dockerfile import FOLDER, ROOT

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
