"""The repository promises each Python that CI runs, and no other one."""

import re
import tomllib
from pathlib import Path

import yaml

from launcher.deploy.target import PYTHONS
from tests.pythons import sources

ROOT = Path(__file__).parents[2]
FIRST, LAST = (int(sources.PROMISED[end].partition(".")[2]) for end in (0, -1))
CHECKING = (".ci/run", "requirements/venv", "action/install", "launcher/places/boot/linux.sh")
TELLING = (
    *(*CHECKING, "README.md", "docs/action.md", "docs/deploy.md", "docs/pools.md"),
    "docs/adr/0016-run-the-action-as-composite-steps.md",
)


def read(name):
    """Return the text of a file of the repository."""
    return (ROOT / name).read_text()


def test_the_package_names_them():
    """An installer refuses other Pythons; the package's page lists these."""
    project = tomllib.loads(read("pyproject.toml"))["project"]
    names = [name.rpartition(" ")[2] for name in project["classifiers"] if "Python :: 3." in name]
    assert names == [*sources.PROMISED]
    assert project["requires-python"] == f">=3.{FIRST},<3.{LAST + 1}"


def test_each_is_played():
    """CI plays all of them on one machine, of which GitHub's container leaves one to a job."""
    command = read(".ci/run")
    assert re.search(r"^export .*\bREQUIRE_PYTHONS=1\b", command, re.MULTILINE)
    assert "OTHER_PYTHONS" not in command
    assert " -m tests.pythons.sources\n" in command
    jobs = yaml.safe_load(read(".github/workflows/ci.yml"))["jobs"]
    assert jobs["pythons"]["strategy"]["matrix"]["python"] == [*sources.PROMISED]
    assert jobs["everything"]["env"]["OTHER_PYTHONS"].split() == [*sources.OF_DEBIANS]


def test_whatever_looks_for_a_python_takes_these_alone():
    """Both bounds are checked where the repository, the action or a machine looks for one."""
    for name in CHECKING:
        bounds = re.findall(r"\(3, (\d+)\) <= sys\.version_info < \(3, (\d+)\)", read(name))
        assert bounds == [(str(FIRST), str(LAST + 1))], name


def test_every_text_says_the_same():
    """A reader finds one range, wherever the text says what Python is needed."""
    for name in TELLING:
        text = read(name)
        ranges = re.findall(r"Python (3\.\d+) to (3\.\d+)", text)
        assert {*ranges} == {(sources.PROMISED[0], sources.PROMISED[-1])}, name
        assert not re.search(r"3\.\d+ or (newer|later)|Python from 3\.\d+ on", text), name


def test_functions_run_on_no_other():
    """The launcher's zip is built for these, and its templates offer them."""
    assert PYTHONS == sources.PROMISED
    for name in ("launcher.yaml", "api.yaml"):
        offered = re.findall(r"AllowedValues: \[(python[^]]*)\]", read(f"launcher/deploy/{name}"))
        assert offered == [", ".join(f"python{each}" for each in sources.PROMISED)], name
