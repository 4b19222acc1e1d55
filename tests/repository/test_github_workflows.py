"""The workflows, held to what keeps others from running their code in them."""

import re
from pathlib import Path

import pytest
import yaml

FOLDER = Path(__file__).parents[2] / ".github" / "workflows"
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


def test_there_are_three():
    """Tests, images and the package."""
    assert WORKFLOWS == ["ci.yml", "images.yml", "package.yml"]


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
    (build,) = [step for step in steps("images.yml") if step.get("name") == "build"]
    assert "--sbom=true --provenance=mode=max" in build["run"]
