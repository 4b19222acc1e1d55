"""The action's files and pages: judged by others, and true."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.action.jobs import ACTION, ROOT
from tests.conftest import JUDGES

ACTIONS = ("start", "stop")
PAGE = (ROOT / "docs" / "action.md").read_text()
SEED = {
    "github_pat",
    "task_definition",
    "cluster",
    "count",
    "task_count",
    "wait",
    "capacity_provider",
    "task_role_arn",
    "execution_role_arn",
    "task_params_file",
}
"""Inputs of PasseiDireto's action, as documented and as in its code."""


def read(name):
    """Return an action's document."""
    return yaml.safe_load((ACTION / name / "action.yml").read_text())


@pytest.mark.parametrize("name", ACTIONS)
def test_the_schema_of_actions_is_kept(name):
    """Judged by SchemaStore's own, in check-jsonschema."""
    program = Path(sys.executable).with_name("check-jsonschema")
    argv = [program, "--builtin-schema", "vendor.github-actions", ACTION / name / "action.yml"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.node
@pytest.mark.parametrize("name", ACTIONS)
def test_the_validator_of_actions_finds_nothing(name):
    """Judged by @action-validator/cli."""
    argv = [JUDGES / ".bin" / "action-validator", ACTION / name / "action.yml"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ACTIONS)
def test_no_expression_stands_in_a_script(name):
    """What a workflow's author writes reaches a step by its environment: in a script it is code."""
    for step in read(name)["runs"]["steps"]:
        assert "${{" not in step["run"]


def test_the_step_that_cleans_up_sees_what_the_start_saw():
    """Or it would look for another order."""
    _, start, clean_up = read("start")["runs"]["steps"]
    assert start["env"] == clean_up["env"]


def test_the_inputs_of_the_seed_are_there():
    """Under their names; none must be given alone: an App may take the token's place."""
    inputs = read("start")["inputs"]
    assert inputs.keys() >= SEED
    assert [name for name, each in inputs.items() if each["required"]] == []


def test_the_page_has_each_input_and_output():
    """With its default, in the tables of docs/action.md."""
    document = read("start")
    rows = set(re.findall(r"^\| `([\w-]+)` \|", PAGE, re.MULTILINE))
    assert rows == {*document["inputs"], *document["outputs"]}


def test_the_workflows_of_the_page_are_workflows(tmp_path):
    """Judged by SchemaStore's schema; they use inputs and outputs that there are."""
    found = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    workflows = [text for text in found if text.startswith("on:")]
    assert workflows
    for text in workflows:
        program = Path(sys.executable).with_name("check-jsonschema")
        (path := tmp_path / "workflow.yml").write_text(text)
        argv = [program, "--builtin-schema", "vendor.github-workflows", path]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        for job in yaml.safe_load(text)["jobs"].values():
            for step in job["steps"]:
                if "/action/" not in step.get("uses", ""):
                    continue
                name = step["uses"].partition("/action/")[2].partition("@")[0]
                assert step["with"].keys() <= read(name)["inputs"].keys()
        for output in re.findall(r"outputs\.([\w-]+)", text):
            assert output in read("start")["outputs"]
