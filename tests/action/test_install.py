"""The first step of the action: a Python that suits, and packages that are what they should be."""

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.action.jobs import ACTION, REQUIREMENTS

WHEEL = "tiny-1.0-py3-none-any.whl"


@pytest.fixture
def place(tmp_path):
    """Give a copy of the action whose only requirement is a wheel that is here."""
    shutil.copytree(ACTION, tmp_path / "repository" / "action")
    for name in ("wheels", "temp", "bin", "repository/requirements"):
        (tmp_path / name).mkdir()
    with zipfile.ZipFile(tmp_path / "wheels" / WHEEL, "w") as wheel:
        wheel.writestr("tiny.py", "NAME = 'tiny'\n")
        wheel.writestr(
            "tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n"
        )
        tags = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        wheel.writestr("tiny-1.0.dist-info/WHEEL", tags)
        wheel.writestr("tiny-1.0.dist-info/RECORD", "")
    require(tmp_path, hashlib.sha256((tmp_path / "wheels" / WHEEL).read_bytes()).hexdigest())
    return tmp_path


def require(place, digest):
    """Write the requirement with its hash."""
    path = place / "repository" / "requirements" / "runtime.txt"
    path.write_text(f"tiny==1.0 --hash=sha256:{digest}\n")


def install(place, **environ):
    """Run the step; return its exit code, what it printed and its outputs."""
    output = place / "output"
    output.write_text("")
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", place / "repository/action/install"],
        env={
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(place),
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(place / "wheels"),
            "GITHUB_OUTPUT": str(output),
            "GITHUB_ACTION": "start",
            "RUNNER_TEMP": str(place / "temp"),
            **environ,
        },
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
    )
    outputs = dict(line.split("=", 1) for line in output.read_text().splitlines())
    return done.returncode, done.stdout + done.stderr, outputs


def test_the_packages_are_in_a_folder_of_the_job(place):
    """A second step of the job finds them there, and has a number of its own."""
    code, text, outputs = install(place)
    assert code == 0, text
    packages = Path(outputs["packages"])
    assert (packages / "tiny.py").read_text() == "NAME = 'tiny'\n"
    assert packages.parent == place / "temp"
    shutil.rmtree(place / "wheels")
    code, text, again = install(place)
    assert code == 0, text
    assert again == {**outputs, "ordinal": "2"}
    assert install(place, GITHUB_ACTION="other")[2]["ordinal"] == "1"


@pytest.mark.parametrize("unmended", [True, False])
def test_a_package_of_another_hash_is_refused(place, unmended):
    """Whoever can put packages into an index or a cache gets no code into the job."""
    require(place, "0" * 64)
    script = place / "repository" / "action" / "install"
    if unmended:
        (place / "repository/requirements/runtime.txt").write_text("tiny==1.0\n")
        script.write_text(script.read_text().replace("--require-hashes ", ""))
    code, text, outputs = install(place)
    assert (code == 0) is unmended, text
    assert bool(outputs) is unmended
    assert bool(list(place.glob("temp/*/tiny.py"))) is unmended
    assert ("::error::cannot start runners" in text) is not unmended


def old_python(place):
    """Make a folder whose only Python is too old."""
    for name in ("python3", "python"):
        path = place / "bin" / name
        path.write_text("#!/bin/sh\nexit 1\n")
        path.chmod(0o755)
    for name in ("bash", "cksum", "tr", "dirname", "mkdir", "mktemp", "mv", "rm"):
        (place / "bin" / name).symlink_to(shutil.which(name))
    return str(place / "bin")


def test_a_python_of_the_runner_s_tools_is_found(place):
    """The machines of GitHub have newer ones there than the system's own."""
    tool = place / "tools" / "Python" / "3.12.9" / "x64" / "bin"
    tool.mkdir(parents=True)
    (tool / "python3").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (tool / "python3").chmod(0o755)
    code, text, outputs = install(
        place, PATH=old_python(place), RUNNER_TOOL_CACHE=str(place / "tools")
    )
    assert code == 0, text
    assert outputs["python"] == str(tool / "python3")


def test_without_a_python_it_says_what_to_do(place):
    """In one line that the workflow's page shows."""
    code, text, outputs = install(place, PATH=old_python(place))
    assert (code, outputs) == (1, {})
    assert "::error::cannot start runners: this needs Python 3.11 to 3.14" in text
    assert "actions/setup-python" in text


def test_the_pinned_packages_are_all_that_it_needs(tmp_path):
    """The machine's own Python, nothing of the tests' environment but these packages."""
    for name in re.findall(r"^([\w.-]+)==", REQUIREMENTS.read_text(), re.MULTILINE):
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # of another platform
        tops = {
            path.parts[0]
            for path in found.files or []
            if path.parts[0] not in ("..", "__pycache__")
        }
        for top in tops:
            target = tmp_path / top
            if not target.is_symlink():
                target.symlink_to(found.locate_file(top))
    environ = {
        "PATH": os.environ["PATH"],
        "ACTION_PACKAGES": str(tmp_path),
        "ACTION_INPUTS": json.dumps({"cluster": "runners", "github_pat": "ghp_0123456789"}),
    }
    python = getattr(sys, "_base_executable", sys.executable)
    argv = [python, "-I", ACTION / "run.py", "start"]
    done = subprocess.run(
        argv, env=environ, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 11, done.stderr
    assert done.stdout.startswith("::error::github_url is missing")
    assert not done.stderr
