"""Read what a workflow says: the action's inputs, and what the runner tells of the job.

Names and meanings of PasseiDireto's action are kept: `github_pat`, `task_definition`, `cluster`,
`count` and `task_count`, `wait`, `capacity_provider`, `task_role_arn`, `execution_role_arn`,
`task_params_file`. So are those of aws-ec2-self-hosted-runner, which starts machines:
`github-token`, `aws-region`, `launch-template-id`, `instance-name`, `user-data`. All mistakes are
reported at once, by the names of the inputs.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.action.names import SETTINGS, name_inputs
from launcher.errors import SettingsError
from launcher.order_stages import read_user_data
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
REGION = re.compile(r"[a-z]{2}(-[a-z]+){1,3}-\d{1,2}")
ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]{1,512}")
TOKENS = ("github_pat", "github-token")
"""The two names of one input."""
OF_TASKS = ("task_role_arn", "execution_role_arn", "task_params_file")
"""Inputs that are no settings, and that a machine has no use for."""
IN_FILE = {"cluster": "cluster", "taskDefinition": "task_definition", "launchType": "launch_type"}
"""Parameters of the file that are settings, where no input says otherwise."""


@dataclass(frozen=True, slots=True)
class Request:
    """The order of one step."""

    settings: Settings
    labels: tuple[str, ...]
    """Of the runners, the unique one last."""
    order: Order
    region: str
    more: Mapping[str, Any]
    """The rest that the task or the machine has beside the settings."""
    warnings: tuple[str, ...]

    @property
    def has_machines(self) -> bool:
        """Return whether it is for machines, and not for tasks."""
        return self.settings.launch_template is not None

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
        self.inputs = {name: values.strip_quotes(str(value)) for name, value in document.items()}
        token = self.one_of(*TOKENS)
        self.inputs |= {TOKENS[0]: token} if token else {}
        self.has_machines = bool(
            self.get("launch-template-id") or environ.get("LAUNCHER_LAUNCH_TEMPLATE", "").strip()
        )

    def get(self, name: str) -> str:
        """Return an input; "" where the workflow does not set it."""
        return self.inputs.get(name, "")

    def one_of(self, *names: str) -> str:
        """Return what may be given by several inputs; the same then."""
        given = {self.get(name) for name in names if self.get(name)}
        if len(given) > 1:
            self.problems.append(f"{' and '.join(names)} contradict each other: set one of them")
            return ""
        return next(iter(given), "")

    def number(self, *names: str, default: float, most: float) -> float:
        """Read a number that may be given by several inputs."""
        text = self.one_of(*names) or f"{default:g}"
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

    def region(self) -> str:
        """Read the region: the input, or else what a step before has set for all."""
        text = self.get("aws-region")
        if text and not REGION.fullmatch(text):
            self.problems.append(f"aws-region must be a region such as eu-central-1, not {text!r}")
        text = text or self.environ.get("AWS_REGION") or self.environ.get("AWS_DEFAULT_REGION", "")
        if not text:
            where = "configure the credentials of AWS in a step before this one"
            self.problems.append(f"AWS_REGION is missing; set aws-region, or {where}")
        return text

    def more(self, settings: Settings | None, params: Mapping[str, Any]) -> dict[str, Any]:
        """Read what the task or the machine has beside the settings."""
        if not self.has_machines:
            roles = self.role("task_role_arn"), self.role("execution_role_arn")
            return {"task_role": roles[0], "execution_role": roles[1], "params": params}
        what = "contradicts launch-template-id: it is for tasks, that is for machines"
        self.problems += [f"{name} {what}" for name in OF_TASKS if self.get(name)]
        try:
            return {"user_data": read_user_data(settings)} if settings is not None else {}
        except SettingsError as error:
            self.problems += [name_inputs(problem) for problem in error.problems]
            return {}

    def user_data(self) -> dict[str, str]:
        """Return the path of the user data, as a setting.

        A link in a checkout does not lead out of it, to a file with secrets of the runner.
        """
        if not (name := self.get("user-data")):
            return {}
        workspace = Path(self.environ.get("GITHUB_WORKSPACE", "."))
        path = workspace / name
        is_inside = path.is_relative_to(workspace)
        if is_inside and not path.resolve().is_relative_to(workspace.resolve()):
            self.problems.append(f"user-data leads out of the workspace: {name}")
            return {}
        if not path.exists():
            hint = "check out the repository before this step"
            self.problems.append(f"user-data is not there: {name}; {hint}")
            return {}
        return {"user_data": str(path)}

    def params(self) -> dict[str, Any]:
        """Read the file of parameters; only the default one may be missing."""
        if self.has_machines:
            return {}
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
        options.pop("user_data", None)
        options = {**given, **options, **self.network(), **self.user_data()}
        server, repository = "GITHUB_SERVER_URL", "GITHUB_REPOSITORY"
        if {server, repository} <= self.environ.keys():
            options.setdefault("github_url", "/".join(map(self.environ.get, (server, repository))))  # type: ignore[arg-type]
        named = command == "start" and "LAUNCHER_TASK_DEFINITION" in self.environ
        if not (named or self.has_machines):
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
    in_file = {IN_FILE[name]: params.pop(name) for name in IN_FILE if name in params}
    if reading.get("capacity_provider") not in ("", "default"):
        in_file.pop("launch_type", None)
    settings = reading.settings(in_file, command)
    more = reading.more(settings, params) if command == "start" else {}
    region = reading.region()
    if reading.problems or settings is None:
        raise SettingsError(*reading.problems)
    order = Order(settings.deployment, settings.github_url, label, int(count), wait, timeout)
    unique = (*labels, label) if label not in labels else labels
    return Request(settings, unique, order, region, more, tuple(reading.warnings))
