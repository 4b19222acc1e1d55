"""The workflows, held to what keeps others from running their code in them."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

FOLDER = Path(__file__).parents[2] / ".github" / "workflows"
JUDGES = Path(__file__).parents[1] / "judges" / "node_modules"
WORKFLOWS = sorted(path.name for path in FOLDER.iterdir())

each = pytest.mark.parametrize("name", WORKFLOWS)


def parsed(name):
    """Give a workflow; YAML reads its key `on` as true."""
    told = yaml.safe_load((FOLDER / name).read_text())
    told["on"] = told.pop(True)
    return told


def steps(name):
    """Give every step of every job."""
    return [step for job in parsed(name)["jobs"].values() for step in job["steps"]]


def test_there_are_four():
    """Tests, images, the package, and what only Windows can judge."""
    assert WORKFLOWS == ["ci.yml", "images.yml", "package.yml", "windows.yml"]


@pytest.mark.node
@each
def test_github_would_take_it(name):
    """Judged by @action-validator/cli, which knows the form of every key."""
    argv = [JUDGES / ".bin" / "action-validator", FOLDER / name]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@each
def test_actions_are_pinned(name):
    """By a whole commit, with the version that it is in a comment; a tag could be moved."""
    used = re.findall(r"uses:\s*(.*)", (FOLDER / name).read_text())
    assert used
    for one in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one)


def test_one_action_is_one_commit():
    """Whoever raises a version raises it everywhere."""
    used = {
        line
        for name in WORKFLOWS
        for line in re.findall(r"uses: (.*)", (FOLDER / name).read_text())
    }
    names = [one.partition("@")[0] for one in used]
    assert sorted(names) == sorted(set(names))


@each
def test_permissions_are_declared_and_small(name):
    """By default a workflow may read the code; what may write is a job that says so."""
    told = parsed(name)
    assert told["permissions"] == {"contents": "read"}
    for job in told["jobs"].values():
        more = {scope for scope, may in job.get("permissions", {}).items() if may == "write"}
        assert more <= {"packages", "id-token"}


@each
def test_nobody_else_s_code_meets_a_secret(name):
    """A pull request runs with its own rights, and leaves no credentials behind in the checkout."""
    assert set(parsed(name)["on"]) <= {"push", "pull_request"}
    text = (FOLDER / name).read_text()
    assert not re.search(r"\bsecrets\.", text)
    for step in steps(name):
        if "actions/checkout" in step.get("uses", ""):
            assert step["with"]["persist-credentials"] is False


@each
def test_nobody_s_text_is_run(name):
    """Expressions reach a script by its environment only: in it they would be code."""
    for step in steps(name):
        assert "${{" not in step.get("run", "")


@each
def test_everything_is_bounded(name):
    """Each job has a deadline, and a newer push takes the place of an older one."""
    told = parsed(name)
    assert told["concurrency"]["group"]
    for job in told["jobs"].values():
        assert 0 < job["timeout-minutes"] <= 60


def test_what_is_published_is_a_tag_s():
    """Nothing leaves for a registry from a branch or a pull request."""
    for name, job in (("images.yml", "join"), ("package.yml", "publish")):
        assert parsed(name)["jobs"][job]["if"] == "github.ref_type == 'tag'"
    for step in steps("windows.yml"):
        if "docker push" in step.get("run", "") or "docker login" in step.get("run", ""):
            assert step["if"] == "github.ref_type == 'tag'"
    (build,) = [step for step in steps("images.yml") if step.get("name") == "build"]
    assert "--sbom=true --provenance=mode=max" in build["run"]


def test_windows_runs_what_is_there():
    """Every path that its workflow tests exists, and all that only Windows can judge is in it."""
    root = FOLDER.parents[1]
    commands = " ".join(step.get("run", "") for step in steps("windows.yml"))
    paths = set(re.findall(r"(?<= )tests/[\w/.]+", commands))
    assert {path for path in paths if not (root / path).exists()} == set()
    assert {"tests/windows/native", "tests/unit"} <= paths
    for version in ("3.11", "3.13"):
        assert version in parsed("windows.yml")["jobs"]["tests"]["strategy"]["matrix"]["python"]


def test_each_image_for_windows_is_built_on_its_own_version():
    """A machine of another version cannot run the steps of the build."""
    job = parsed("windows.yml")["jobs"]["image"]
    pairs = {(one["windows"], one["machine"]) for one in job["strategy"]["matrix"]["include"]}
    assert pairs == {("ltsc2022", "windows-2022"), ("ltsc2025", "windows-2025")}
    assert job["runs-on"] == "${{ matrix.machine }}"
