"""Read what a workflow says: the action's inputs, and what the runner tells of the job.

Names and meanings of PasseiDireto's action are kept: `github_pat`, `task_definition`, `cluster`,
`count` and `task_count`, `wait`, `capacity_provider`, `task_role_arn`, `execution_role_arn`,
`task_params_file`. All mistakes are reported at once, by the names of the inputs.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.errors import SettingsError
from launcher.places import params as task_params
from launcher.settings import Settings, load
from launcher.start import WAITS, Order
from sidecar import values

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST = 100
"""Runners of one step."""
LONGEST = 86_400.0
"""Seconds that a step may wait."""
TASK_DEFINITION = "gh-runner"
PARAMS_FILE = "task-params.json"
"""PasseiDireto's defaults."""
KEY = (
    *("GITHUB_REPOSITORY", "GITHUB_RUN_ID", "GITHUB_RUN_ATTEMPT", "GITHUB_JOB"),
    *("ACTION_JOB_INDEX", "ACTION_CHECK_RUN", "GITHUB_ACTION", "ACTION_ORDINAL"),
)
"""Variables that tell one step from another."""
ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]{1,512}")
SETTINGS = {
    "github_url": "github_url",
    "github_pat": "github_pat",
    "github_app_id": "github_app_id",
    "github_app_key": "github_app_key",
    "runner_group": "runner_group",
    "cluster": "cluster",
    "task_definition": "task_definition",
    "container": "container",
    "launch_type": "launch_type",
    "capacity_provider": "capacity_providers",
    "parameter_prefix": "parameter_prefix",
}
"""Inputs that are settings of the launcher."""
NETWORK = ("subnets", "security_groups", "public_ip")
"""Settings that the input `network` holds."""
IN_FILE = {"cluster": "cluster", "taskDefinition": "task_definition", "launchType": "launch_type"}
"""Parameters of the file that are settings, where no input says otherwise."""


@dataclass(frozen=True, slots=True)
class Request:
    """The order of one step."""

    settings: Settings
    labels: tuple[str, ...]
    """Of the runners, the unique one last."""
    order: Order
    task_role: str | None
    execution_role: str | None
    params: Mapping[str, Any]
    warnings: tuple[str, ...]

    @property
    def label(self) -> str:
        """Return the label that only the runners of this step have."""
        return self.order.key


def make_key(environ: Mapping[str, str]) -> str:
    """Make the unique label of a step, which is the key of its order too.

    Run and attempt, job, its number in the matrix, its check run (two calls of one reusable
    workflow have jobs of the same name), the step, and how often the step was there before (two in
    one composite action have the same name).
    """
    digest = hashlib.sha256(json.dumps([environ.get(name, "") for name in KEY]).encode())
    return f"run-{environ.get('GITHUB_RUN_ID', '0')}-{digest.hexdigest()[:16]}"


class _Reading:
    """The inputs while they are read, and the mistakes that are found."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.problems: list[str] = []
        self.warnings: list[str] = []
        document = json.loads(environ.get("ACTION_INPUTS") or "{}")
        self.inputs = {name: str(value).strip() for name, value in document.items()}

    def get(self, name: str) -> str:
        """Return an input; "" where the workflow does not set it."""
        return self.inputs.get(name, "")

    def number(self, *names: str, default: float, most: float) -> float:
        """Read a number that may be given by several inputs; the same one then."""
        given = {self.get(name) for name in names if self.get(name)}
        if len(given) > 1:
            self.problems.append(f"{' and '.join(names)} contradict each other: set one of them")
            return default
        text = next(iter(given), f"{default:g}")
        try:
            number = float(text)
        except ValueError:
            number = 0.0
        whole = most > MOST or number == int(number)
        if not 1 <= number <= most or not whole:
            self.problems.append(f"{names[0]} must be a number from 1 to {most:g}, not {text!r}")
            return default
        return number

    def wait(self) -> str:
        """Read what is waited for: `wait_for`, or else PasseiDireto's `wait`."""
        wait, wait_for = self.get("wait").lower() or "true", self.get("wait_for").lower()
        if wait not in ("true", "false"):
            self.problems.append(f"wait must be true or false, not {wait!r}")
        if wait_for and wait_for not in WAITS:
            self.problems.append(f"wait_for must be {', '.join(WAITS)}, not {wait_for!r}")
        if wait == "false" and wait_for not in ("", "none"):
            self.problems.append("wait_for contradicts wait: false; leave one of them out")
        return wait_for or ("none" if wait == "false" else "online")

    def labels(self) -> tuple[str, ...]:
        """Read the labels beside the unique one; `none` says that there are no others."""
        text = self.inputs.get("labels", "self-hosted")
        if text.lower() == "none":
            return ()
        try:
            return values.parse_labels(text)
        except ValueError as error:
            self.problems.append(f"labels {error}")
            return ()

    def role(self, name: str) -> str | None:
        """Read the ARN of a role."""
        text = self.get(name)
        if text and not ROLE.fullmatch(text):
            self.problems.append(f"{name} must be the ARN of a role, not {text!r}")
        return text or None

    def network(self) -> dict[str, str]:
        """Read subnets, security groups and `public` as settings; how they begin tells them."""
        words = re.split(r"[\s,]+", self.get("network"))
        found: dict[str, list[str]] = {"subnets": [], "security_groups": [], "public_ip": []}
        for word in filter(None, words):
            match word.partition("-")[0].lower():
                case "subnet":
                    found["subnets"].append(word)
                case "sg":
                    found["security_groups"].append(word)
                case "public":
                    found["public_ip"] = ["true"]
                case _:
                    text = f"network must be subnet-…, sg-… and public, not {word!r}"
                    self.problems.append(text)
        return {name: ",".join(words) for name, words in found.items() if words}

    def params(self) -> dict[str, Any]:
        """Read the file of parameters; only the default one may be missing."""
        name = self.get("task_params_file")
        path = Path(self.environ.get("GITHUB_WORKSPACE", ""), name or PARAMS_FILE)
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            if name not in ("", PARAMS_FILE):
                text = "is not there; check out the repository before this step"
                self.problems.append(f"task_params_file: {name} {text}")
            return {}
        except (OSError, ValueError) as error:
            self.problems.append(f"task_params_file: cannot read {name or PARAMS_FILE}: {error}")
            return {}
        if mistakes := task_params.check(document):
            self.problems += [f"task_params_file: {mistake}" for mistake in mistakes]
            return {}
        for own in task_params.OWN:
            if own in document and own != "count":
                self.warnings.append(f"task_params_file: {own} is set by the launcher itself")
        return dict(document)

    def settings(self, given: Mapping[str, str], command: str) -> Settings | None:
        """Read the settings: inputs over the file's parameters over LAUNCHER_ variables."""
        options = {
            field: self.get(name)
            for name, field in SETTINGS.items()
            if self.get(name) and (name, self.get(name)) != ("capacity_provider", "default")
        }
        options = {**given, **options, **self.network()}
        server, repository = "GITHUB_SERVER_URL", "GITHUB_REPOSITORY"
        if {server, repository} <= self.environ.keys():
            options.setdefault("github_url", "/".join(map(self.environ.get, (server, repository))))  # type: ignore[arg-type]
        if command != "start" or "LAUNCHER_TASK_DEFINITION" not in self.environ:
            options.setdefault("task_definition", TASK_DEFINITION)
        try:
            settings, warnings = load(options, self.environ)
        except SettingsError as error:
            self.problems += [name_inputs(problem) for problem in error.problems]
            return None
        self.warnings += warnings
        return settings


def read(command: str, environ: Mapping[str, str]) -> Request:
    """Read what a step asks for. Raises SettingsError with a line for each mistake."""
    reading = _Reading(environ)
    label = reading.get("label") if command == "stop" else make_key(environ)
    params = reading.params() if command == "start" else {}
    count = reading.number("count", "task_count", default=params.pop("count", 1), most=MOST)
    timeout = reading.number("timeout", default=600, most=LONGEST)
    wait, labels = reading.wait(), reading.labels()
    roles = reading.role("task_role_arn"), reading.role("execution_role_arn")
    in_file = {IN_FILE[name]: params.pop(name) for name in IN_FILE if name in params}
    if reading.get("capacity_provider") not in ("", "default"):
        in_file.pop("launch_type", None)
    settings = reading.settings(in_file, command)
    if not (environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")):
        text = "AWS_REGION is missing; configure the credentials of AWS in a step before this one"
        reading.problems.append(text)
    if reading.problems or settings is None:
        raise SettingsError(*reading.problems)
    order = Order(settings.deployment, settings.github_url, label, int(count), wait, timeout)
    unique = (*labels, label) if label not in labels else labels
    return Request(settings, unique, order, *roles, params, tuple(reading.warnings))


_VARIABLE = re.compile(r"LAUNCHER_([A-Z_]+)(=?)")


def name_inputs(text: str) -> str:
    """Name inputs where a text names the launcher's variables, as far as there are such inputs."""
    names = {field: name for name, field in SETTINGS.items()} | dict.fromkeys(NETWORK, "network")

    def rename(match: re.Match[str]) -> str:
        name = names.get(match[1].lower())
        return match[0] if name is None else name + (": " if match[2] else "")

    return _VARIABLE.sub(rename, text).replace("--timeout", "timeout")
