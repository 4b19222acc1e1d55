"""Run the steps of a composite action as GitHub's runner does.

Read from the runner's source (actions/runner, Runner.Worker: CompositeActionHandler, ScriptHandler,
ScriptHandlerHelpers, FileCommandManager, ActionCommand; Runner.Sdk: ProcessInvoker):
- `shell: bash` is `bash --noprofile --norc -e -o pipefail FILE`, in the workspace.
- Inputs are in the context `inputs` only: no INPUT_ variable is set for a step that is a script.
- Each step has new files for outputs, state, summary, environment and path; they are read after its
  end, whatever that was.
- A line that begins with `::` is a command, and so is one that holds `##[`.
- A cancelled step gets SIGINT, 7.5 s later SIGTERM, 2.5 s later SIGKILL; only its own process does.
  Then the conditions of the other steps are asked, and those that hold run.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import uuid
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml  # type: ignore[import-untyped]

from local.agent import AgentProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

SHELL = ("bash", "--noprofile", "--norc", "-e", "-o", "pipefail")
FILES = ("OUTPUT", "STATE", "STEP_SUMMARY", "ENV", "PATH")
EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
TOKEN = re.compile(
    r"'((?:[^']|'')*)'|(&&)|(\|\|)|([A-Za-z_][\w-]*(?:\.[\w-]+)*)(\()?|(\s+|[!=()]+)"
)
COMMAND = re.compile(r"\s*::([a-z-]+)(?: [^:]*)?::(.*)", re.DOTALL)
OLD_COMMAND = re.compile(r"##\[([a-z-]+)[^\]]*\]")
ESCAPES = {"%0D": "\r", "%0A": "\n", "%25": "%"}
MASK = "***"
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # Windows has none
SIGNALS = ((signal.SIGINT, 7.5), (signal.SIGTERM, 2.5), (KILL, 60.0))
"""What a cancelled step gets, each with the seconds until the next one."""


@dataclass
class Job:
    """The job that a composite action runs in: its variables, its masks, what it prints."""

    folder: Path
    environ: dict[str, str]
    masks: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    """Lines as everybody sees them."""
    raw: list[str] = field(default_factory=list)
    """Lines as the steps printed them, without the commands that mask."""
    annotations: list[tuple[str, str]] = field(default_factory=list)
    summary: str = ""
    status: str = "success"
    job_index: int = 0
    check_run_id: int | None = 4242

    def __post_init__(self) -> None:
        for name in ("workspace", "temp", "files"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    @property
    def workspace(self) -> Path:
        """Return the folder of the checkout."""
        return self.folder / "workspace"

    @property
    def temp(self) -> Path:
        """Return the runner's folder for temporary files."""
        return self.folder / "temp"

    def find_file(self, kind: str, text: str) -> str:
        """Return what a step has written to a file, such as its outputs, while it runs."""
        every = [path.read_text() for path in self.folder.glob(f"files/{kind}_*")]
        (found,) = [each for each in every if text in each]
        return found

    def mask(self, text: str) -> str:
        """Mask what the job's steps have asked to mask."""
        for secret in sorted(self.masks, key=len, reverse=True):
            text = text.replace(secret, MASK)
        return text

    def job_output(self, value: str) -> str | None:
        """Pass a value to another job; one that holds masked text is dropped."""
        return None if self.mask(value) != value else value

    def take_line(self, line: str) -> None:
        """Read one line of a step: a command, or text for the log."""
        found = COMMAND.fullmatch(line) or OLD_COMMAND.search(line)
        if found and found[1] == "add-mask":
            self.masks.append(_unescape(found[2]))
            return
        self.raw.append(line)
        if found:
            self.annotations.append((found[1], self.mask(_unescape(line.split("::", 2)[-1]))))
        self.log.append(self.mask(line))


def _unescape(text: str) -> str:
    for escaped, sign in ESCAPES.items():
        text = text.replace(escaped, sign)
    return text


@dataclass
class Step:
    """One embedded step that has run, or was skipped."""

    conclusion: str
    outputs: dict[str, str] = field(default_factory=dict)
    exit_code: int | None = None


class Composite:
    """One use of a composite action in a job."""

    def __init__(self, job: Job, path: Path, name: str = "__octo_runners_action_start") -> None:
        self.job = job
        self.path = path
        self.name = name
        self.document = yaml.safe_load((path / "action.yml").read_text())
        self.steps: dict[str, Step] = {}
        self.ran: list[str] = []
        self.conclusion = "success"
        self.outputs: dict[str, str] = {}
        self.process: AgentProcess | None = None
        self.signals = SIGNALS
        self._cancelled = asyncio.Event()
        self._changed = asyncio.Condition()

    # -- what a test does ----------------------------------------------------------------------

    async def run(self, **inputs: str) -> str:
        """Run all steps; return the conclusion of the whole."""
        given = {name: str(each.get("default", "")) for name, each in self._declared().items()}
        unknown = inputs.keys() - given.keys()
        if unknown:
            raise ValueError(f"the action has no input {unknown}")
        self.inputs = given | inputs
        for number, step in enumerate(self.document["runs"]["steps"]):
            await self._run_step(step, step.get("id", f"__{number}"))
        for name, output in self.document.get("outputs", {}).items():
            self.outputs[name] = self._fill(output["value"])
        self.job.status = {"success": self.job.status}.get(self.conclusion, self.conclusion)
        return self.conclusion

    def cancel(self) -> None:
        """Cancel the workflow."""
        self._cancelled.set()

    async def wait_for_text(self, text: str) -> None:
        """Wait until a step has printed this text."""
        async with asyncio.timeout(60), self._changed:
            await self._changed.wait_for(lambda: any(text in line for line in self.job.log))

    # -- one step ------------------------------------------------------------------------------

    def _declared(self) -> dict[str, Any]:
        return dict(self.document.get("inputs", {}))

    async def _run_step(self, step: Mapping[str, Any], name: str) -> None:
        if not self._holds(str(step.get("if", "success()"))):
            self.steps[name] = Step("skipped")
            return
        self.ran.append(step["name"])
        mark = uuid.uuid4().hex
        files = {each: self.job.folder / "files" / f"{each.lower()}_{mark}" for each in FILES}
        for path in files.values():
            path.touch()
        script = self.job.temp / f"{mark}.sh"
        script.write_text(step["run"])
        if step["shell"] != "bash":
            raise ValueError(f"cannot run a step with the shell {step['shell']}")
        try:
            code = await self._run_script(script, self._environment(step, files))
        finally:
            script.unlink()
        outputs = _read_pairs(files["OUTPUT"].read_text())
        self.job.environ |= _read_pairs(files["ENV"].read_text())
        self.job.summary += self.job.mask(files["STEP_SUMMARY"].read_text())
        conclusion = "success" if code == 0 else "failure"
        if self._cancelled.is_set() and self.conclusion != "cancelled" and code:
            conclusion = "cancelled"
        self.steps[name] = Step(conclusion, outputs, code)
        if conclusion != "success" and self.conclusion == "success":
            self.conclusion = conclusion

    def _environment(self, step: Mapping[str, Any], files: Mapping[str, Path]) -> dict[str, str]:
        environ = dict(self.job.environ)
        environ |= {name: self._fill(str(text)) for name, text in step.get("env", {}).items()}
        environ |= {f"GITHUB_{name}": str(path) for name, path in files.items()}
        environ |= {
            "GITHUB_ACTION": self.name,
            "GITHUB_ACTION_PATH": str(self.path),
            "GITHUB_WORKSPACE": str(self.job.workspace),
            "RUNNER_TEMP": str(self.job.temp),
        }
        if any(name.startswith("INPUT_") for name in environ):
            raise ValueError("the runner sets no INPUT_ for the script of a composite action")
        return environ

    async def _run_script(self, script: Path, environ: Mapping[str, str]) -> int:
        argv = (*SHELL, str(script))
        folder, cwd = self.job.folder / "process", self.job.workspace
        was_cancelled = self._cancelled.is_set()
        async with AgentProcess.start(argv, environ, folder, cwd) as process:
            self.process = process
            async with asyncio.TaskGroup() as group:
                reading = group.create_task(self._read(process))
                stopping = None if was_cancelled else group.create_task(self._stop(process))
                code = await process.process.wait()
                await reading
                if stopping is not None:
                    stopping.cancel()
        # Not before: its errors may end after its output.
        if process.errors.strip() and not code:
            raise RuntimeError(f"a step that went well complains: {process.errors}")
        self.job.raw += process.errors.splitlines()
        self.job.log += process.errors.splitlines()
        return code

    async def _read(self, process: AgentProcess) -> None:
        """Read lines as they come; the runner knows a mask before it reads the next line."""
        read = 0
        while True:
            text, closed = process.text, process.closed
            lines = text.split("\n")
            complete = lines[read : len(lines) - (0 if closed else 1)]
            for line in filter(None, complete):
                self.job.take_line(line)
            read += len(complete)
            async with self._changed:
                self._changed.notify_all()
            if closed:
                return
            await _wait_for_more(process, len(text))

    async def _stop(self, process: AgentProcess) -> None:
        await self._cancelled.wait()
        ended = asyncio.create_task(process.process.wait())
        for number, seconds in self.signals:
            if not ended.done():
                process.signal(number)
                await asyncio.wait([ended], timeout=seconds)

    # -- expressions ---------------------------------------------------------------------------

    def _fill(self, text: str) -> str:
        return EXPRESSION.sub(lambda found: _as_text(self._evaluate(found[1])), text)

    def _holds(self, condition: str) -> bool:
        found = EXPRESSION.fullmatch(condition.strip())
        text = found[1] if found else condition
        if not re.search(r"\b(success|failure|cancelled|always)\(", text):
            text = f"success() && ({text})"
        return bool(self._evaluate(text))

    def _evaluate(self, text: str) -> Any:
        """Evaluate an expression of the kinds that the actions here use."""
        python = TOKEN.sub(self._translate, text.strip())
        status = "cancelled" if self._cancelled.is_set() else self.conclusion
        functions = {
            "success": lambda: status == "success",
            "failure": lambda: status == "failure",
            "cancelled": lambda: status == "cancelled",
            "always": lambda: True,
            "toJSON": lambda value: json.dumps(value, indent=2),
            "_look": self._look,
        }
        return eval(python, {"__builtins__": {}}, functions)  # noqa: S307  the action's own text

    @staticmethod
    def _translate(found: re.Match[str]) -> str:
        text, both, either, name, call, other = found.groups()
        if text is not None:
            return repr(text.replace("''", "'"))
        if name:
            return f"{name}(" if call else f"_look({name!r})"
        return " and " if both else " or " if either else other

    def _look(self, path: str) -> Any:
        contexts: dict[str, Any] = {
            "inputs": self.inputs,
            "strategy": {"job-index": self.job.job_index},
            "job": {"check_run_id": self.job.check_run_id},
            "steps": {
                name: {"outputs": step.outputs, "conclusion": step.conclusion}
                for name, step in self.steps.items()
            },
        }
        found: Any = contexts
        for part in path.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        return found if found is not None else ""


async def _wait_for_more(process: AgentProcess, known: int) -> None:
    """Wait until a process has printed more than so many characters, or has ended."""
    async with process._changed:
        await process._changed.wait_for(lambda: process.closed or len(process.text) > known)


def _as_text(value: Any) -> str:
    return {True: "true", False: "false"}.get(value, str(value)) if value is not None else ""


def _read_pairs(text: str) -> dict[str, str]:
    """Read `name=value` lines, and values over several lines as `name<<END`."""
    pairs, lines = {}, iter(text.splitlines())
    for line in lines:
        name, sign, value = re.match(r"([^=<]*)(=|<<)(.*)", line).groups()  # type: ignore[union-attr]
        if sign == "<<":
            value = "\n".join(iter(lines.__next__, value))
        pairs[name] = value
    return pairs


@asynccontextmanager
async def running(composite: Composite, **inputs: str) -> AsyncIterator[asyncio.Task[str]]:
    """Run an action while the block looks at it."""
    task = asyncio.create_task(composite.run(**inputs))
    try:
        yield task
    except BaseException:
        task.cancel()
        raise
    finally:
        await asyncio.wait([task])
