"""Tell the workflow what happens: lines in the log, outputs, and a summary with a table.

It is the last step of structlog's chain: the launcher's events come in, lines for the runner go
out. GitHub drops an output of a job that holds masked text, and an account's number is often
masked: so no ARN is in what `runs-on` needs.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from launcher import identity
from launcher.action.names import name_inputs
from launcher.errors import Exit
from sidecar.log.masks import SHORTEST, mask_known_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping
    from pathlib import Path

    from launcher.action.inputs import Request

QUIET = ("runner.deleted", "launch.cleaned_up", "start.done")
"""Events whose facts are in other lines or in the table."""
COMMANDS = {"warning": "warning", "error": "error", "exception": "error", "critical": "error"}


def flatten(text: str) -> str:
    """Make one line of a text, in which the runner finds no command that is not ours."""
    return name_inputs(" ".join(text.split())).replace("##[", "## [")


def make_command(name: str, text: str) -> str:
    """Make a command to the runner, such as `error`, which shows the text at the top of the run."""
    return f"::{name}::{flatten(text).replace('%', '%25')}"


def mask(secret: str) -> str:
    """Make the commands by which the runner masks a secret: each of its lines."""
    lines = [line for line in secret.splitlines() if len(line) >= SHORTEST]
    return "".join(f"::add-mask::{line.replace('%', '%25')}\n" for line in lines)


@dataclass
class Row:
    """One launch in the table."""

    task: str = ""
    runner: str = ""
    state: str = "waiting for capacity"
    why: str = ""


@dataclass
class Report:
    """The report to the workflow about one order."""

    request: Request
    output: Path | None
    summary: Path | None
    clock: Callable[[], float] = time.monotonic
    rows: dict[str, Row] = field(default_factory=dict)
    """By launch."""
    failure: str = ""

    def __post_init__(self) -> None:
        self._begun = self.clock()
        self._done: set[str] = set()
        self._news: dict[str, str] = {}
        self._kind = "Machine" if self.request.has_machines else "Task"

    # -- outputs -----------------------------------------------------------------------------

    def tell(self, **outputs: str) -> None:
        """Set outputs; the last value of each counts."""
        changed = {name: text for name, text in outputs.items() if self._news.get(name) != text}
        self._news |= changed
        if self.output is not None and changed:
            lines = [f"{name}={text}\n" for name, text in changed.items()]
            with self.output.open("a", encoding="utf-8") as file:
                file.writelines(lines)

    def tell_label(self) -> None:
        """Set what is known before anything is started."""
        label = self.request.label
        labels = json.dumps(list(self.request.labels))
        self.tell(label=label, runs_on=json.dumps([label]), labels=labels)

    def _tell_tasks(self) -> None:
        rows = [row for row in self.rows.values() if row.task]
        one, all_ = rows[0].task if rows else "", json.dumps([row.task for row in rows])
        if self.request.has_machines:
            self.tell(**{"instance-id": one, "instance-ids": all_})
        else:
            self.tell(task_id=one, task_arns=all_)
        self.tell(runner_names=json.dumps([row.runner for row in rows if row.runner]))

    # -- events ------------------------------------------------------------------------------

    def take(self, _logger: Any, level: str, event: MutableMapping[str, Any]) -> str:
        """Turn an event into a line of the log. Raises DropEvent where there is nothing to say."""
        facts = {key: mask_known_secrets(value) for key, value in event.items()}
        name = str(facts.pop("event"))
        write = getattr(self, "_on_" + name.replace(".", "_"), None)
        text = write(facts) if write else _describe(name, facts)
        if name in QUIET:
            raise structlog.DropEvent
        return make_command(COMMANDS[level], text) if level in COMMANDS else flatten(text)

    def _row(self, facts: Mapping[str, Any]) -> Row:
        return self.rows.setdefault(str(facts.get("launch")), Row())

    def _on_start_begun(self, facts: Mapping[str, Any]) -> str:
        settings = self.request.settings
        runners = "1 runner" if facts["count"] == 1 else f"{facts['count']} runners"
        what = f"{settings.task_definition} in the cluster {settings.cluster}"
        if self.request.has_machines:
            what = f"the launch template {settings.launch_template}"
        return f"Starting {runners} of {what}, with the label {self.request.label}"

    def _on_task_placed(self, facts: Mapping[str, Any]) -> str:
        row = self._row(facts)
        row.task, row.runner, row.state, row.why = str(facts["task"]), "", "started", ""
        self._tell_tasks()
        return f"{self._kind} {identity.task_id(row.task)} is started"

    def _on_task_delayed(self, facts: Mapping[str, Any]) -> str:
        self._row(facts).why = str(facts["reason"])
        seconds, kind = facts["seconds"], self._kind.lower()
        return f"No {kind} yet, asking again in {seconds} s: {facts['reason']}"

    def _on_token_handed_over(self, facts: Mapping[str, Any]) -> str:
        row = self._row(facts)
        row.runner = str(facts["runner"])
        self._tell_tasks()
        return f"Runner {row.runner} has its token"

    def _on_task_running(self, facts: Mapping[str, Any]) -> str:
        return self._count(facts, "running")

    def _on_runner_online(self, facts: Mapping[str, Any]) -> str:
        return self._count(facts, "online")

    def _count(self, facts: Mapping[str, Any], state: str) -> str:
        row = self._row(facts)
        row.state = state
        self._done.add(str(facts["launch"]))
        many = f"{len(self._done)} of {self.request.order.count} runners are {state}"
        return f"{many}: {row.runner} (after {self.clock() - self._begun:.0f} s)"

    def _on_task_failed(self, facts: Mapping[str, Any]) -> str:
        row = self._row(facts)
        task = identity.task_id(row.task)
        row.task, row.runner, row.state, row.why = "", "", "failed", str(facts["reason"])
        self._tell_tasks()
        wait = self.request.order.wait
        return f"{self._kind} {task} ended before its runner was {wait}: {row.why}"

    def _on_runner_missed(self, facts: Mapping[str, Any]) -> str:
        lines = " | ".join(map(str, facts["console"])) or "nothing"
        return f"The console of the machine {facts['machine']} says last: {lines}"

    def _on_retry_scheduled(self, facts: Mapping[str, Any]) -> str:
        return f"Trying again in {facts['seconds']} s: {facts['reason']}"

    def _on_start_failed(self, facts: Mapping[str, Any]) -> str:
        self.failure = name_inputs(str(facts["reason"]))
        return self.failure

    def _on_start_interrupted(self, facts: Mapping[str, Any]) -> str:
        self.failure = str(facts["reason"])
        return f"Cleaning up: {facts['reason']}"

    def _on_launch_cleaned_up(self, facts: Mapping[str, Any]) -> str:
        self._row(facts).state = "stopped"
        return ""

    def _on_launch_kept(self, facts: Mapping[str, Any]) -> str:
        self._row(facts).state = "kept: it has a job"
        return f"{self._kind} {identity.task_id(str(facts['task']))} is kept: {facts['reason']}"

    # -- summary -----------------------------------------------------------------------------

    def write_summary(self, code: Exit) -> None:
        """Add a table of the launches to the summary of the job."""
        if self.summary is None:
            return
        order = self.request.order
        if code is Exit.DONE:
            title = f"{order.count} of {order.count} runners started"
        else:
            title = f"No runner started: {code.meaning}"
        lines = [f"### {_cell(title)}", ""]
        if self.failure:
            lines += [_cell(self.failure), ""]
        if self.rows:
            lines += [f"| runner | {self._kind.lower()} | state | reason |", "|---|---|---|---|"]
            for row in self.rows.values():
                cells = (row.runner, identity.task_id(row.task), row.state, row.why)
                lines.append(f"| {' | '.join(map(_cell, cells))} |")
            lines.append("")
        lines.append(f"Label: `{self.request.label}`, after {self.clock() - self._begun:.0f} s.")
        with self.summary.open("a", encoding="utf-8") as file:
            file.write("\n".join([*lines, ""]))


def _describe(name: str, facts: Mapping[str, Any]) -> str:
    """Describe an event that has no words of its own."""
    said = (f"{key}={value}" for key, value in facts.items() if value is not None)
    return " ".join([name, *said])


def _cell(text: str) -> str:
    """Make a text plain in a table of Markdown."""
    line = " ".join(mask_known_secrets(text).split())
    for sign in "\\`*_[]<>|":
        line = line.replace(sign, "\\" + sign)
    return line
