"""A job: its folders, its environment, its hooks, its steps, its end."""

import json
import os
import random
import shutil
from typing import Any, Callable, Optional

from . import codes, shells, tree
from .client import Client
from .commands import FileCommands
from .conditions import WrongConditionError, holds
from .contained import Contained, Preparation
from .containers import Folders, Log
from .docker import DockerError
from .environment import find_event_file, find_tools, make_variables
from .identities import uuid
from .message import Job
from .misbehaviour import Misbehaviour
from .process import Invoker
from .results import Results
from .signals import Signals
from .steps import Step, Steps
from .store import SETTINGS, Store
from .terminal import Terminal
from .wire import UnreachableError

_CANCELED = "##[error]The operation was canceled."
_SHUTDOWN = (
    "##[error]The runner has received a shutdown signal. This can happen when the runner service "
    "is stopped, or a manually started runner is canceled."
)
_TRIES = 5


def run(root: str, channel: Any, signals: Signals, terminal: Terminal, knobs: Misbehaviour) -> str:
    """Run the job that comes first through the channel; gives its result."""
    job = Job(channel.message()["body"])
    terminal.trace("Worker", f"Job {job.name} received")
    invoker = Invoker(channel, signals, knobs)
    return _Run(root, job, invoker, terminal, knobs).run()


class _Run:
    def __init__(
        self,
        root: str,
        job: Job,
        invoker: Invoker,
        terminal: Terminal,
        knobs: Misbehaviour,
    ) -> None:
        self._root, self._job, self._knobs = root, job, knobs
        self._invoker, self._terminal = invoker, terminal
        self._settings = Store(root).load(SETTINGS)
        self._results = Results(job, knobs, lambda text: terminal.trace("Results", text, "WARN"))
        self._steps = Steps(self._results)
        self._result = "Succeeded"
        self._work = os.path.join(root, str(self._settings.get("workfolder") or "_work"))
        self._owner, _, self._repository = job.github_text("repository").partition("/")
        self._temp = os.path.join(self._work, "_temp")
        self._workspace = os.path.join(self._work, self._repository, self._repository)
        self._tracking = f"github_{os.urandom(16).hex()}"
        self._commands = FileCommands(self._temp)
        self._variables: dict[str, str] = {}
        """What a step gets beside the worker's own environment; steps add to it."""
        self._externals = os.path.join(root, "externals")
        folders = (root, self._work, self._workspace, find_tools(self._work))
        added_paths = self._commands.added_paths
        self._contained = Contained(invoker, knobs, Folders(*folders), added_paths)
        self._posts: list[dict[str, Any]] = []
        """The steps whose actions have something to do after the job."""

    def run(self) -> str:
        """Go through it all."""
        self._knobs.dawdle("worker")
        self._set_up()
        self._hook("Set up runner", "ACTIONS_RUNNER_HOOK_JOB_STARTED", "job started hook", "Pre")
        if self._knobs.knob("spawn_daemon") is True:
            from .daemon import leave_behind

            leave_behind(self._root)
        self._prepare()
        for step in self._job.steps:
            self._step(step)
        self._end_containers()
        if not self._invoker.shutdown:
            name = "ACTIONS_RUNNER_HOOK_JOB_COMPLETED"
            self._hook("Complete runner", name, "job completed hook", "Post")
        self._clean_up()
        if self._invoker.shutdown:
            self._result = "Failed"  # a shutdown is no cancel: GitHub shows the job as failed
        elif self._invoker.canceled:
            self._result = "Canceled"
        self._terminal.trace("JobRunner", f"Job result: {self._result}")
        self._results.drain()
        self._knobs.dawdle("end")
        self._complete()
        self._knobs.dawdle("exit")
        return self._result

    # The end of it

    def _complete(self) -> None:
        """Tell the run service: five tries, but 401 and 404 are final."""
        body = {
            "planId": self._job.plan,
            "jobId": self._job.id,
            "conclusion": self._result.lower(),
            "outputs": {},
            "stepResults": self._steps.list_facts(),
            "annotations": [],
            "telemetry": [],
            "billingOwnerId": self._job.billing_owner,
        }
        client = Client(self._knobs, pause=self._invoker.pause)
        url = f"{self._job.run_service}completejob"
        for attempt in range(_TRIES):
            if attempt:
                seconds = random.uniform(5, 15)
                self._invoker.pause(self._knobs.seconds("request_retry_seconds", seconds))
            try:
                response = client.ask("POST", url, body, f"Bearer {self._job.token}")
            except UnreachableError as error:
                self._terminal.trace("JobServer", f"completejob: {error}", "WARN")
                continue
            if response.good or response.status in (401, 404):
                return

    # Before

    def _set_up(self) -> None:
        shutil.rmtree(self._temp, ignore_errors=True)
        for name in ("_temp", "_actions", "_tool", "_PipelineMapping"):
            os.makedirs(os.path.join(self._work, name), exist_ok=True)
        for name in ("pages", "blocks"):
            os.makedirs(os.path.join(self._root, "_diag", name), exist_ok=True)
        os.makedirs(self._workspace, exist_ok=True)
        self._write_event()
        self._variables = self._first_variables(self._job.env)
        os.environ["RUNNER_TRACKING_ID"] = self._tracking
        lines = [f"Current runner version: '{codes.VERSION}'"]
        lines.append(f"Runner name: '{self._settings['agentname']}'")
        for group in self._set_up_info():
            lines += [f"##[group]{group.get('group', '')}", str(group.get("detail", ""))]
            lines.append("##[endgroup]")
        lines.append(f"Complete job name: {self._job.name}")
        step = self._steps.begin("Set up job", {"action": "setup_job", "type": "runner"})
        step.log("\n".join(lines) + "\n")
        step.end("succeeded")

    def _set_up_info(self) -> list[dict[str, Any]]:
        try:
            with open(os.path.join(self._root, ".setup_info"), encoding="utf-8-sig") as file:
                return [each for each in json.load(file) if isinstance(each, dict)]
        except (OSError, ValueError, TypeError):
            return []

    def _environment(self, variables: dict[str, str]) -> dict[str, str]:
        """Return a step's environment on this machine."""
        own = {**os.environ, **variables}
        own["PATH"] = os.pathsep.join([*self._commands.added_paths, own.get("PATH", "")])
        return own

    def _first_variables(self, env: dict[str, str]) -> dict[str, str]:
        name = str(self._settings["agentname"])
        own = make_variables(self._job, name, self._work, self._workspace)
        return {**env, **own, "RUNNER_TRACKING_ID": self._tracking}

    # Hooks and steps

    def _hook(self, name: str, variable: str, words: str, moment: str) -> None:
        path = os.environ.get(variable, "")
        if not path:
            return
        kind = {"action": f"{moment} Job Hook", "type": "runner"}
        step = self._steps.begin(name, kind)
        step.log(f"A {words} has been configured by the self-hosted runner administrator\n")
        command = self._find_hook_command(path)
        if command is None:
            text = "File doesn't exist" if not os.path.isfile(path) else "is not a .sh, .ps1, .js"
            step.log(f"##[error]{text}\n")
            self._fail(step)
            return
        self._write_event()
        if moment == "Pre":
            self._knobs.spoil_event(find_event_file(self._temp))
        started = self._invoker.may_start()
        # The first step's environment has nothing of the workflow's `env`.
        variables = self._first_variables({}) if moment == "Pre" else self._variables
        code = self._invoke(step, command, variables) if started else 0
        if code:
            step.log(f"##[error]Process completed with exit code {code}.\n")
            self._fail(step)
        else:
            step.end("succeeded")

    def _find_hook_command(self, path: str) -> Optional[list[str]]:
        """Return the command of a hook; None if there is no such file, or nothing that runs it."""
        if not os.path.isfile(path):
            return None
        return shells.find_hook_command(path, self._externals) or None

    def _write_event(self) -> None:
        """Write the event that started the workflow, anew for each hook and each action."""
        path = find_event_file(self._temp)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            json.dump(self._job.github.get("event") or {}, file)

    def _fail(self, step: Step) -> None:
        step.end("failed")
        if self._result == "Succeeded":
            self._result = "Failed"

    def _invoke(
        self,
        step: Step,
        command: list[str],
        variables: Optional[dict[str, str]] = None,
        condition: str = "always()",
        *,
        contained: bool = False,
    ) -> int:
        """Run a command for a step, `contained` in the job container; return its exit code."""

        def run(prepared: dict[str, str]) -> int:
            if contained:
                return self._contained.run_command(step.log, command, prepared, condition)
            environment = self._environment(prepared)
            return self._invoker.run(command, environment, self._workspace, step.log, condition)

        return self._with_file_commands(step, run, variables)

    def _with_file_commands(
        self,
        step: Step,
        run: Callable[[dict[str, str]], int],
        variables: Optional[dict[str, str]] = None,
    ) -> int:
        """Run a step with its own files for GITHUB_ENV and so on; return its exit code."""
        code = run(self._commands.make_files(variables or self._variables))
        if summary := self._commands.summary():
            self._results.summary(step.id, summary)
        for error in self._commands.take_results(self._variables):
            step.log(f"##[error]{error}\n")
            code = code or 1
        return code

    def _step(self, wanted: dict[str, Any]) -> None:
        condition = wanted["if"] or "success()"
        step = self._begin(wanted["name"], {"id": wanted["id"], "action": "run"}, condition)
        if step is None:
            return
        if wanted["reference"]["type"] == "script":
            step.log(_head(wanted["run"], shells.find_shell("", contained=False)))
            self._finish(step, self._script(step, wanted, condition))
        else:
            self._finish(step, self._action(step, wanted, condition))

    def _begin(self, name: str, kind: dict[str, str], condition: str) -> Optional[Step]:
        """Begin a step; return None if its condition does not let it run."""
        self._invoker.take_messages()
        self._invoker.step_canceled = False
        step = self._steps.begin(name, kind)
        try:
            runs = not self._invoker.shutdown and holds(
                condition, failed=self._result == "Failed", canceled=self._invoker.canceled
            )
        except WrongConditionError as error:
            step.log(f"##[error]{error}\n")
            self._fail(step)
            return None
        if not runs:
            step.end("skipped")
            return None
        return step

    def _script(self, step: Step, wanted: dict[str, Any], condition: str) -> int:
        contained = bool(self._contained.containers.job_container)
        shell = shells.find_shell(wanted["shell"], contained)
        command = [*shell, self._write(wanted["run"])]
        return self._invoke(step, command, None, condition, contained=contained)

    def _write(self, text: str) -> str:
        """Write a step's script; return its path."""
        words, ending = shells.word_script(text)
        script = os.path.join(self._temp, uuid() + ending)
        with open(script, "w", encoding="utf-8", newline="") as file:
            file.write(words)
        return script

    def _finish(self, step: Step, code: int) -> None:
        if self._invoker.step_canceled:
            step.log((_SHUTDOWN if self._invoker.shutdown else _CANCELED) + "\n")
            step.end("canceled")
        elif code:
            step.log(f"##[error]Process completed with exit code {code}.\n")
            self._fail(step)
        else:
            step.end("succeeded")

    # Containers and actions

    def _prepare(self) -> None:
        """Pull, build and start what the job's containers and actions need."""
        try:
            preparations = self._contained.prepare(self._job)
        except DockerError as error:
            preparations = [Preparation("Prepare actions", _raising(error))]
        for name, call in preparations:
            self._own_step(name, "success()", call)

    def _own_step(self, name: str, condition: str, call: Callable[[Log], None]) -> None:
        """Do something as a step of the runner's own."""
        step = self._begin(name, {"action": "containers", "type": "runner"}, condition)
        if step is None:
            return
        try:
            call(step.log)
        except DockerError as error:
            if not self._invoker.step_canceled:
                step.log(f"##[error]{error}\n")
                self._fail(step)
                return
        self._finish(step, 0)

    def _action(self, step: Step, wanted: dict[str, Any], condition: str, moment: str = "") -> int:
        """Run an action, or with "post-" what it does after the job; return its exit code."""
        try:
            action = self._contained.find(wanted)
            if not action.in_docker:
                command = self._contained.node_command(step.log, action)
                contained = bool(self._contained.containers.job_container)
                variables = {**self._variables, **action.inputs}
                return self._invoke(step, command, variables, condition, contained=contained)
            if not moment and action.entrypoint("post-"):
                self._posts.append(wanted)

            def run(prepared: dict[str, str]) -> int:
                return self._contained.run_action(step.log, action, prepared, condition, moment)

            return self._with_file_commands(step, run)
        except DockerError as error:
            step.log(f"##[error]{error}\n")
            return 1

    def _end_containers(self) -> None:
        """Run what actions do after the job, the last one first; then remove the containers."""
        for wanted in reversed(self._posts):
            name, kind = f"Post {wanted['name']}", {"action": "run"}
            step = self._begin(name, kind, "always()")
            if step is not None:
                self._finish(step, self._action(step, wanted, "always()", "post-"))
        if self._contained.containers.network:
            self._own_step("Stop containers", "always()", self._contained.containers.stop)

    # After

    def _clean_up(self) -> None:
        kind = {"action": "complete_job", "type": "runner"}
        step = self._steps.begin("Complete job", kind)
        lines = ["Cleaning up orphan processes"]
        for pid, name in tree.find_tracked(self._tracking).items():
            lines.append(f"Terminate orphan process: pid ({pid}) ({name})")
            tree.strike(pid)
        step.log("\n".join(lines) + "\n")
        step.end("succeeded")


def _raising(error: DockerError) -> Callable[[Log], None]:
    def call(_log: Log) -> None:
        raise error

    return call


def _head(script: str, shell: list[str]) -> str:
    first = script.strip().splitlines()[0] if script.strip() else ""
    body = "".join(f"\x1b[36;1m{line}\x1b[0m\n" for line in script.splitlines())
    return f"##[group]Run {first}\n{body}shell: {' '.join(shell)} {{0}}\n##[endgroup]\n"
