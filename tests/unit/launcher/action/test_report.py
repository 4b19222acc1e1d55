"""What the workflow is told: lines, outputs and summary cannot be misused."""

import json

import pytest
import structlog

from launcher.action import inputs
from launcher.action.report import Report, make_command, mask
from launcher.errors import Exit
from tests.unit.launcher.action.test_inputs import ENVIRON, LEAST

TASK = "arn:aws:ecs:eu-central-1:123456789012:task/runners/" + "ab" * 16
FACTS = {"launch": "1", "task": TASK, "try": 1}


@pytest.fixture
def report(tmp_path):
    """Give a report that writes into files."""
    environ = {**ENVIRON, "GITHUB_WORKSPACE": str(tmp_path), "ACTION_INPUTS": json.dumps(LEAST)}
    request = inputs.read("start", environ)
    return Report(request, tmp_path / "output", tmp_path / "summary", lambda: 0.0)


def outputs(report):
    """Return the last value of each output."""
    lines = report.output.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_a_replaced_task_is_not_in_the_outputs(report):
    """Its runner will never come; its successor's will."""
    report.take(None, "info", {"event": "task.placed", **FACTS})
    report.take(None, "info", {"event": "token.handed_over", **FACTS, "runner": "ecs-a-1"})
    report.take(None, "warning", {"event": "task.failed", **FACTS, "reason": "no image"})
    assert outputs(report)["task_id"] == ""
    second = {**FACTS, "task": TASK[:-1] + "c"}
    report.take(None, "info", {"event": "task.placed", **second})
    assert json.loads(outputs(report)["task_arns"]) == [second["task"]]
    assert outputs(report)["runner_names"] == "[]"


def test_a_reason_is_no_command(report):
    """What AWS or a task says may hold a line that the runner would obey."""
    reason = "no\n::add-mask::x\n##[add-mask]x\n::error::y 50%"
    line = report.take(None, "warning", {"event": "task.failed", **FACTS, "reason": reason})
    assert "\n" not in line
    assert line.startswith("::warning::")
    assert "##[" not in line
    assert "50%25" in line
    plain = report.take(None, "info", {"event": "task.looked", "reason": reason})
    assert not plain.startswith("::")
    assert "\n" not in plain


def test_a_reason_is_no_markdown(report):
    """In the table it is text: no column, no link, no HTML."""
    reason = "a|b <img src=x> [c](d) `e`\n| f"
    report.take(None, "info", {"event": "task.placed", **FACTS})
    report.take(None, "warning", {"event": "task.failed", **FACTS, "reason": reason})
    report.take(None, "error", {"event": "start.failed", "reason": "it ended"})
    report.write_summary(Exit.ENDED)
    text = report.summary.read_text()
    assert "a\\|b \\<img src=x\\> \\[c\\](d) \\`e\\` \\| f" in text
    assert "it ended" in text


def test_every_line_of_a_secret_is_masked():
    """The runner masks line by line; what is too short would hide ordinary text."""
    assert mask("first-line\nsecond-line\nx\n").splitlines() == [
        "::add-mask::first-line",
        "::add-mask::second-line",
    ]


def test_errors_name_inputs():
    """Not the variables of the command line."""
    text = "cannot do it (LAUNCHER_CLUSTER, LAUNCHER_SUBNETS, LAUNCHER_DEPLOYMENT; --timeout)"
    assert make_command("error", text) == (
        "::error::cannot do it (cluster, network, LAUNCHER_DEPLOYMENT; timeout)"
    )
    text = "cannot start a machine: no such thing (subnets, security_groups) (launch_template) (x)"
    assert make_command("error", text) == (
        "::error::cannot start a machine: no such thing (network) (launch-template-id) (x)"
    )


def test_a_machine_is_called_a_machine(tmp_path):
    """In lines, outputs and table; its console's last lines are one line of the log."""
    given = {"github_pat": "ghp_0123456789", "launch-template-id": "runner"}
    environ = {**ENVIRON, "GITHUB_WORKSPACE": str(tmp_path), "ACTION_INPUTS": json.dumps(given)}
    request = inputs.read("start", environ)
    report = Report(request, tmp_path / "output", tmp_path / "summary", lambda: 0.0)
    begun = report.take(None, "info", {"event": "start.begun", "count": 1})
    assert begun.startswith("Starting 1 runner of the launch template runner, with the label")
    report.tell_label()
    facts = {"launch": "1", "task": "i-0123456789", "try": 1}
    placed = report.take(None, "info", {"event": "task.placed", **facts})
    assert placed == "Machine i-0123456789 is started"
    assert outputs(report)["instance-id"] == "i-0123456789"
    assert json.loads(outputs(report)["labels"]) == list(request.labels)
    assert "task_id" not in outputs(report)
    missed = {"event": "runner.missed", "machine": "i-0123456789", "reason": "late"}
    line = report.take(None, "error", {**missed, "console": ["one", "::error::two"]})
    assert line == "::error::The console of the machine i-0123456789 says last: one | ::error::two"
    report.write_summary(Exit.TIMEOUT)
    assert "| runner | machine | state | reason |" in report.summary.read_text()


def test_what_is_in_the_table_is_no_line(report):
    """The log says each thing once."""
    report.take(None, "info", {"event": "task.placed", **FACTS})
    with pytest.raises(structlog.DropEvent):
        report.take(None, "info", {"event": "launch.cleaned_up", **FACTS, "reason": "x"})
    report.write_summary(Exit.INTERRUPTED)
    assert "| stopped |" in report.summary.read_text()
