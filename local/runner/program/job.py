"""A job: its folders, its environment, its hooks, its steps, its end."""

import json
import os
import shutil
from typing import Any, Optional

from . import system, tree
from .broker import Broker
from .commands import FileCommands
from .conditions import WrongConditionError, holds
from .misbehaviour import Misbehaviour
from .process import Invoker
from .signals import Signals
from .store import SETTINGS, Store
from .terminal import Terminal

_CANCELED = "##[error]The operation was canceled."
_SHUTDOWN = (
    "##[error]The runner has received a shutdown signal. This can happen when the runner service "
    "is stopped, or a manually started runner is canceled."
)


def run(root: str, channel: Any, signals: Signals, terminal: Terminal, knobs: Misbehaviour) -> str:
    """Run the job that comes first through the channel; gives its result."""
    job = channel.message()["body"]
    terminal.trace("Worker", f"Job {job['name']} received")
    invoker = Invoker(channel, signals, knobs)
    return _Job(root, job, invoker, terminal, knobs).run()


class _Job:
    def __init__(
        self,
        root: str,
        job: dict[str, Any],
        invoker: Invoker,
        terminal: Terminal,
        knobs: Misbehaviour,
    ) -> None:
        store = Store(root)
        self._root, self._job, self._knobs = root, job, knobs
        self._invoker, self._terminal = invoker, terminal
        self._settings = store.load(SETTINGS)
        self._broker = Broker(store, self._settings)
        self._result = "Succeeded"
        self._work = os.path.join(root, str(self._settings.get("workfolder") or "_work"))
        self._owner, _, self._repository = str(job["repository"]).partition("/")
        self._temp = os.path.join(self._work, "_temp")
        self._workspace = os.path.join(self._work, self._repository, self._repository)
        self._tracking = f"github_{os.urandom(16).hex()}"
        self._commands = FileCommands(self._temp)
        self._environment: dict[str, str] = {}

    def run(self) -> str:
        """Go through it all."""
        self._set_up()
        self._hook("Set up runner", "ACTIONS_RUNNER_HOOK_JOB_STARTED", "job started hook")
        if self._knobs.knob("spawn_daemon") is True:
            from .daemon import leave_behind

            leave_behind(self._root)
        for number, step in enumerate(self._job["steps"]):
            self._step(number, step)
        if not self._invoker.shutdown:
            name = "ACTIONS_RUNNER_HOOK_JOB_COMPLETED"
            self._hook("Complete runner", name, "job completed hook")
        self._clean_up()
        if self._invoker.canceled:
            self._result = "Canceled"
        self._terminal.trace("JobRunner", f"Job result: {self._result}")
        self._send("complete", {"result": self._result.lower()})
        return self._result

    # What GitHub is told

    def _send(self, verb: str, body: dict[str, Any]) -> None:
        try:
            response = self._broker.job(self._job["id"], verb, body)
            if not response.good:
                self._terminal.trace("JobServer", f"{verb}: {response.message}", "WARN")
        except Exception as error:  # noqa: BLE001 - a log that is lost must not end the job
            self._terminal.trace("JobServer", f"{verb}: {error}", "WARN")

    def _log(self, name: str, text: str, step: Optional[int] = None) -> None:
        if not text.endswith("\n") and step is None:
            text += "\n"
        self._send("feed", {"step": step, "name": name, "text": text})

    # Before

    def _set_up(self) -> None:
        shutil.rmtree(self._temp, ignore_errors=True)
        for name in ("_temp", "_actions", "_tool", "_PipelineMapping"):
            os.makedirs(os.path.join(self._work, name), exist_ok=True)
        os.makedirs(self._workspace, exist_ok=True)
        os.makedirs(os.path.join(self._temp, "_github_workflow"), exist_ok=True)
        with open(os.path.join(self._temp, "_github_workflow", "event.json"), "wb") as file:
            file.write(b"{}")
        self._environment = self._first_environment()
        os.environ["RUNNER_TRACKING_ID"] = self._tracking
        lines = [f"Current runner version: '{_version()}'"]
        lines.append(f"Runner name: '{self._settings['agentname']}'")
        for group in self._set_up_info():
            lines += [f"##[group]{group.get('group', '')}", str(group.get("detail", ""))]
            lines.append("##[endgroup]")
        lines.append(f"Complete job name: {self._job['name']}")
        self._log("Set up job", "\n".join(lines))

    def _set_up_info(self) -> list[dict[str, Any]]:
        try:
            with open(os.path.join(self._root, ".setup_info"), encoding="utf-8-sig") as file:
                return [each for each in json.load(file) if isinstance(each, dict)]
        except (OSError, ValueError, TypeError):
            return []

    def _first_environment(self) -> dict[str, str]:
        own = dict(os.environ)
        own.update(self._job["env"])
        own.update(self._github_environment())
        own.update(
            CI="true",
            RUNNER_NAME=str(self._settings["agentname"]),
            RUNNER_OS=system.name(),
            RUNNER_ARCH=system.architecture(),
            RUNNER_ENVIRONMENT="self-hosted",
            RUNNER_TEMP=self._temp,
            RUNNER_TOOL_CACHE=os.environ.get("AGENT_TOOLSDIRECTORY")
            or os.path.join(self._work, "_tool"),
            RUNNER_WORKSPACE=os.path.dirname(self._workspace),
            RUNNER_TRACKING_ID=self._tracking,
        )
        return own

    def _github_environment(self) -> dict[str, str]:
        server = str(self._job["server_url"])
        run = str(self._job["run_id"])
        return {
            "GITHUB_ACTIONS": "true",
            "GITHUB_ACTION": "__run",
            "GITHUB_ACTOR": "octocat",
            "GITHUB_TRIGGERING_ACTOR": "octocat",
            "GITHUB_API_URL": f"{server}/api/v3",
            "GITHUB_GRAPHQL_URL": f"{server}/api/graphql",
            "GITHUB_SERVER_URL": server,
            "GITHUB_BASE_REF": "",
            "GITHUB_HEAD_REF": "",
            "GITHUB_EVENT_NAME": "push",
            "GITHUB_EVENT_PATH": os.path.join(self._temp, "_github_workflow", "event.json"),
            "GITHUB_JOB": str(self._job["name"]),
            "GITHUB_REF": "refs/heads/main",
            "GITHUB_REF_NAME": "main",
            "GITHUB_REF_PROTECTED": "false",
            "GITHUB_REF_TYPE": "branch",
            "GITHUB_REPOSITORY": str(self._job["repository"]),
            "GITHUB_REPOSITORY_OWNER": self._owner,
            "GITHUB_RETENTION_DAYS": "90",
            "GITHUB_RUN_ATTEMPT": "1",
            "GITHUB_RUN_ID": run,
            "GITHUB_RUN_NUMBER": run,
            "GITHUB_SHA": str(self._job["sha"]),
            "GITHUB_WORKFLOW": "stand-in",
            "GITHUB_WORKSPACE": self._workspace,
        }

    # Hooks and steps

    def _hook(self, name: str, variable: str, words: str) -> None:
        path = os.environ.get(variable, "")
        if not path:
            return
        self._log(name, f"A {words} has been configured by the self-hosted runner administrator")
        command = _hook_command(path)
        if command is None:
            text = "File doesn't exist" if not os.path.isfile(path) else "is not a .sh, .ps1, .js"
            self._log(name, f"##[error]{text}")
            self._fail()
            return
        started = self._invoker.may_start()
        code = self._invoke(command, lambda text: self._log(name, text)) if started else 0
        if code:
            self._log(name, f"##[error]Process completed with exit code {code}.")
            self._fail()

    def _fail(self) -> None:
        if self._result == "Succeeded":
            self._result = "Failed"

    def _invoke(self, command: list[str], output: Any, condition: str = "always()") -> int:
        environment = self._commands.prepared(self._environment)
        code = self._invoker.run(command, environment, self._workspace, output, condition)
        for error in self._commands.taken(self._environment):
            output(f"##[error]{error}\n")
            code = code or 1
        return code

    def _step(self, number: int, step: dict[str, Any]) -> None:
        condition = step["if"] or "success()"
        self._invoker.look()
        try:
            wanted = not self._invoker.shutdown and holds(
                condition, failed=self._result == "Failed", canceled=self._invoker.canceled
            )
        except WrongConditionError as error:
            self._ended(number, f"##[error]{error}\n", "failed")
            self._fail()
            return
        if not wanted:
            self._ended(number, "", "skipped")
            return
        self._send("feed", {"step": number, "text": _heading(step["run"]), "state": "running"})
        script = os.path.join(self._temp, f"{os.urandom(8).hex()}.sh")
        with open(script, "w", encoding="utf-8") as file:
            file.write(step["run"])
        code = self._invoke(
            [_bash(), "-e", script], lambda text: self._log("", text, number), condition
        )
        if self._invoker.step_canceled:
            text = _SHUTDOWN if self._invoker.shutdown else _CANCELED
            self._ended(number, text + "\n", "canceled")
        elif code:
            text = f"##[error]Process completed with exit code {code}.\n"
            self._ended(number, text, "failed")
            self._fail()
        else:
            self._ended(number, "", "succeeded")

    def _ended(self, number: int, text: str, result: str) -> None:
        ended = {"step": number, "text": text, "state": "completed", "result": result}
        self._send("feed", ended)

    # After

    def _clean_up(self) -> None:
        lines = ["Cleaning up orphan processes"]
        for pid, name in tree.tracked(self._tracking).items():
            lines.append(f"Terminate orphan process: pid ({pid}) ({name})")
            tree.strike(pid)
        self._log("Complete job", "\n".join(lines))


def _version() -> str:
    from .codes import VERSION

    return VERSION


def _bash() -> str:
    return shutil.which("bash") or "/bin/sh"


def _hook_command(path: str) -> Optional[list[str]]:
    if not os.path.isfile(path):
        return None
    _, kind = os.path.splitext(path)
    shells = {".sh": [_bash(), "-e"], ".ps1": ["pwsh", "-command", "."], ".js": ["node"]}
    return [*shells[kind], path] if kind in shells else None


def _heading(script: str) -> str:
    first = script.strip().splitlines()[0] if script.strip() else ""
    body = "".join(f"\x1b[36;1m{line}\x1b[0m\n" for line in script.splitlines())
    return f"##[group]Run {first}\n{body}shell: {_bash()} -e {{0}}\n##[endgroup]\n"
