"""The settings: the only reader of the environment. Frozen, validated, all mistakes told at once.

Everything is a `SIDECAR_*` variable and an option of the same name. Region, endpoints and
credentials come the AWS way and are the AWS library's business.
"""

from __future__ import annotations

import argparse
import difflib
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from sidecar import contracts, host, values
from sidecar.errors import SettingsError
from sidecar.probe import DEFAULT_ADDRESS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PREFIX = "SIDECAR_"
IMDS = "http://169.254.169.254"
"""The instance's metadata service."""


def setting(default: Any, help_: str, example: str, **more: Any) -> Any:
    """Make one setting: its default, its line of help, and the example that its errors show."""
    return Field(default=default, description=help_, examples=[example], **more)


class Settings(BaseSettings):
    """What one life is told, by variable or option."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        extra="ignore",
        validate_default=False,
        hide_input_in_errors=True,
    )

    token_parameter: Annotated[str, AfterValidator(values.parameter_name)] | None = setting(
        None,
        "SSM parameter that holds the right to register: a token, JSON, arguments of config.sh "
        "or a just-in-time configuration",
        "/actions/tokens/0f3a",
        repr=False,  # who mistakes it for the token itself shall not see that in a log
    )
    token: SecretStr | None = setting(
        None,
        "the same by itself, for launchers that have no parameter: whoever may describe the task "
        "sees it",
        "ghs_…",
        repr=False,
    )
    github_app_id: Annotated[str, AfterValidator(values.plain)] | None = setting(
        None, "id or client id of a GitHub App that mints tokens", "123456"
    )
    github_app_key: SecretStr | None = setting(
        None,
        "its private key (PEM), or where that is: file:, ssm: or secretsmanager: and a name",
        "file:/run/secrets/app.pem",
        repr=False,
    )
    github_pat: SecretStr | None = setting(
        None,
        "personal access token that mints tokens, or file:, ssm: or secretsmanager: and a name",
        "secretsmanager:runner-pat",
        repr=False,
    )
    just_in_time: bool = setting(
        False, "register through GitHub's API alone, with neither token nor configure", "true"
    )
    token_timeout: Annotated[float, Field(gt=0, le=86400)] = setting(
        300.0, "seconds to wait for that parameter to appear", "300"
    )
    github_url: Annotated[str, AfterValidator(values.github_url)] | None = setting(
        None,
        "repository, organization or enterprise to register with; the parameter may bring it",
        "https://github.com/octo-org/octo-repo",
    )
    launcher: Annotated[
        Literal["auto", "native", "fargate", "passeidireto", "myoung34", "cdk"],
        BeforeValidator(values.lower),
    ] = setting(
        "auto",
        "whose variables are read beside these: a launcher's by its name, none with native; auto "
        "goes by what is set",
        "native",
    )
    github_server: Annotated[str, AfterValidator(values.github_server)] | None = setting(
        None,
        "the GitHub of a launcher that names only owner and repository; default: github.com",
        "https://github.example.com",
    )
    name: Annotated[str, AfterValidator(values.runner_name)] | None = setting(
        None, "the runner's name; default: the prefix, the task's id and a random end", "build-1"
    )
    name_prefix: Annotated[str, AfterValidator(values.name_prefix)] = setting(
        "ecs-", "beginning of the name where no name is given", "ecs-"
    )
    labels: Annotated[tuple[str, ...], NoDecode, BeforeValidator(values.labels)] = setting(
        (), "labels besides the runner's own, separated by commas", "ecs,large"
    )
    no_default_labels: bool = setting(
        False, "leave out the labels self-hosted, the system's and the architecture's", "true"
    )
    runner_group: Annotated[str, AfterValidator(values.plain)] | None = setting(
        None, "runner group of the organization or enterprise", "production"
    )
    work_dir: Annotated[str, AfterValidator(values.plain)] = setting(
        "_work",
        "folder for the job, absolute or within the runner's folder; one with {name}, the runner's "
        "name, in it is made for this life and removed with it",
        "_work",
    )
    runner_dir: Annotated[Path, AfterValidator(Path.absolute)] = setting(
        Path(host.DEFAULT_RUNNER_DIR), "folder of the actions runner", host.DEFAULT_RUNNER_DIR
    )
    runner_user: str | None = setting(
        None,
        "user that the runner's processes run as when the agent is root; default: runner",
        "runner",
    )
    idle_limit: Annotated[float, Field(ge=1)] | None = setting(
        None, "seconds that the runner waits for a job before it ends with exit code 18", "900"
    )
    lifetime_limit: Annotated[float, Field(ge=1)] | None = setting(
        None, "seconds after which the life is drained, job included: exit code 19", "21600"
    )
    spot_watch: bool = setting(
        False, "ask the instance for Spot notices: for tasks that get no SIGTERM then", "true"
    )
    stop_timeout: Annotated[float, Field(ge=1, le=3600)] = setting(
        30.0, "the container's stopTimeout, in seconds: the budget of a stop", "30"
    )
    health_address: Annotated[values.Address | None, BeforeValidator(values.address_or_off)] = (
        setting(
            values.address(DEFAULT_ADDRESS),
            "where /healthz and /readyz listen, or off",
            DEFAULT_ADDRESS,
        )
    )
    log_format: Annotated[Literal["json", "console", "auto"], BeforeValidator(values.lower)] = (
        setting("auto", "json, console, or auto: console on a terminal", "json")
    )
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], BeforeValidator(values.lower)
    ] = setting("info", "debug, info, warning or error", "info")
    metrics_namespace: Annotated[str, AfterValidator(values.namespace)] | None = setting(
        None,
        "CloudWatch namespace: the last event of a life is then also its metrics",
        "Runners",
    )
    relay: Annotated[
        Literal["auto", "local", "netfilter", "pass-through", "off"], BeforeValidator(values.lower)
    ] = setting(
        "auto",
        "how jobs and their containers come to the task role's credentials: local, netfilter or "
        "pass-through; auto takes what fits the task, off relays none",
        "auto",
    )
    relay_required: bool = setting(
        False, "end with exit code 14 if the relay gets no credentials", "true"
    )
    relay_address: Annotated[values.Address, BeforeValidator(values.address)] = setting(
        values.Address("127.0.0.1", 0),
        "where the relay listens; port 0 takes a free one. With netfilter the port alone counts",
        "127.0.0.1:0",
    )
    relay_imds: bool = setting(
        True,
        "answer containers as the instance's metadata (IMDSv2), too; else refuse them there",
        "false",
    )
    job_role_arn: Annotated[str, AfterValidator(values.role_arn)] | None = setting(
        None,
        "role that jobs get, by sts:AssumeRole, in place of the task role",
        "arn:aws:iam::123456789012:role/job",
    )
    job_policy: Annotated[str, AfterValidator(values.session_policy)] | None = setting(
        None,
        "session policy that cuts down the jobs' role, or the task role: JSON, or file: and a path",
        "file:/etc/job-policy.json",
        repr=False,  # in an error a whole policy would hide what is wrong with it
    )
    docker_proxy: Annotated[Literal["auto", "on", "off"], BeforeValidator(values.lower)] = setting(
        "auto",
        "whether jobs reach the docker daemon through the agent, which gives each container its "
        "credentials: on ends with exit code 14 if that cannot be, auto goes without",
        "on",
    )
    docker_strict: bool = setting(
        False,
        "refuse containers that are root on the daemon's machine: privileged, in its namespaces, "
        "or with the folders of its socket",
        "true",
    )
    shared_dir: Annotated[Path, AfterValidator(values.shared_dir)] | None = setting(
        None,
        "folder that agent and docker daemon have at the same path, where the daemon runs in "
        "another container: the proxy's socket and the job's folder are made in it",
        "/mnt/runner",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource,
        **__: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take only what `load` hands over: it merges options and the environment itself."""
        return (init_settings,)


SECRETS = {"token", "github_app_key", "github_pat"}
"""Settings that are variables only."""
SOURCES = ("token_parameter", "token", "github_app_id", "github_app_key", "github_pat")
"""Settings that bring a right to register."""


@dataclass(frozen=True, slots=True)
class Task:
    """What ECS tells a container of its task, by variables; None where it tells nothing."""

    region: str | None
    """AWS_REGION, which ECS sets and botocore does not read; None leaves it to botocore."""
    metadata_uri: str | None
    agent_uri: str | None
    """ECS_AGENT_URI: where scale-in protection is asked for."""
    instance_uri: str
    """AWS_EC2_METADATA_SERVICE_ENDPOINT, as AWS SDKs read it: where a Spot notice appears."""
    credentials_relative_uri: str | None
    credentials_full_uri: str | None
    credentials_token: str | None
    credentials_token_file: str | None
    docker_host: str | None
    """DOCKER_HOST: where docker clients look for the daemon."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """All that a life knows at its start."""

    settings: Settings
    task: Task
    user: host.Identity | None
    passed_on: Mapping[str, str]
    """The environment of the runner and its jobs: all but what the agent consumed."""
    warnings: tuple[str, ...]
    launcher: contracts.Reading = contracts.NOBODY
    """Whose variables were read beside the agent's own."""
    command: tuple[str, ...] = ()
    """What to supervise instead of a runner, and nothing is registered; empty for a runner."""


def load(options: Sequence[str], environ: Mapping[str, str]) -> Configuration:
    """Read options and environment; raises SettingsError with one line for every mistake.

    What follows `--` among the options is a command to supervise. It registers by itself if it
    likes, so that nothing of a registration is asked for, and a launcher's variables are its own.
    """
    options, command = _split(options)
    given, warnings = _from_environment(environ)
    given |= _from_options(options)
    launcher = _launcher(given, environ, supervising=bool(command))
    given = {**launcher.settings, **given}
    problems = list(launcher.problems)
    settings: Settings | None = None
    try:
        settings = Settings(**given)
    except ValidationError as error:
        problems += [
            _problem(detail, given, launcher.variables)
            for detail in error.errors(include_url=False)
        ]
    problems += _contradictions(given)
    if not command:
        problems += _runner_dir(given)
        problems += _sources(given) if not launcher.problems else []
    user, trouble = _user(given.get("runner_user"), _usual_user(launcher, command))
    problems += trouble
    if problems or settings is None:
        raise SettingsError(*problems)
    return Configuration(
        settings=settings,
        task=Task(
            region=environ.get("AWS_REGION") or None,
            metadata_uri=environ.get("ECS_CONTAINER_METADATA_URI_V4") or None,
            agent_uri=environ.get("ECS_AGENT_URI") or None,
            instance_uri=(environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or IMDS).rstrip("/"),
            credentials_relative_uri=environ.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") or None,
            credentials_full_uri=environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI") or None,
            credentials_token=environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN") or None,
            credentials_token_file=environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") or None,
            docker_host=environ.get("DOCKER_HOST") or None,
        ),
        user=user,
        passed_on={
            key: value
            for key, value in environ.items()
            if not key.startswith(PREFIX) and key not in launcher.withheld
        },
        warnings=tuple(warnings),
        launcher=launcher,
        command=command,
    )


def _split(options: Sequence[str]) -> tuple[Sequence[str], tuple[str, ...]]:
    """Part the agent's own options from a command that follows `--`."""
    if "--" not in options:
        return options, ()
    at = list(options).index("--")
    if not options[at + 1 :]:
        raise SettingsError("no command follows --; see runner-sidecar run --help")
    return options[:at], tuple(options[at + 1 :])


def _launcher(
    given: Mapping[str, Any], environ: Mapping[str, str], *, supervising: bool
) -> contracts.Reading:
    """Read a launcher's variables, unless its command reads them itself."""
    wanted = str(given.get("launcher", contracts.AUTO)).lower()
    if supervising:
        return contracts.supervised(environ, wanted)
    sources = [variable(field) for field in SOURCES if field in given]
    return contracts.read(environ, wanted, given, sources)


def option(field: str) -> str:
    """Return the option of a setting: `token_parameter` is `--token-parameter`."""
    return "--" + field.replace("_", "-")


def variable(field: str) -> str:
    """Return the variable of a setting: `token_parameter` is `SIDECAR_TOKEN_PARAMETER`."""
    return PREFIX + field.upper()


def _from_environment(environ: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    known = {variable(field): field for field in Settings.model_fields}
    given: dict[str, Any] = {}
    warnings: list[str] = []
    for key, value in environ.items():
        if not key.startswith(PREFIX):
            continue
        if key in known:
            if value.strip():  # an empty variable is how compose and ECS say "not set"
                given[known[key]] = value.strip()
        else:
            own = key.removeprefix(PREFIX).lower()
            nearest = difflib.get_close_matches(own, Settings.model_fields, n=1)
            hint = f"; did you mean {variable(nearest[0])}?" if nearest else ""
            warnings.append(f"{key} is not a setting{hint}")
    return given, warnings


class _Parser(argparse.ArgumentParser):
    """Tells a mistake the way all settings do, rather than with argparse's own exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Raise what every other mistake raises."""
        raise SettingsError(f"{message}; see runner-sidecar run --help")


def _from_options(options: Sequence[str]) -> dict[str, Any]:
    if not options:
        return {}
    if shown := {word.partition("=")[0] for word in options} & set(map(option, SECRETS)):
        raise SettingsError(
            *(
                f"{variable(field)} is a variable only: everybody may read a command line "
                f"(example: {variable(field)}={_example(field)})"
                for field in sorted(SECRETS)
                if option(field) in shown
            )
        )
    parser = _Parser(
        prog="runner-sidecar run",
        description="Every option is also a variable: --name-prefix is SIDECAR_NAME_PREFIX.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    for field, info in Settings.model_fields.items():
        if field in SECRETS:
            continue  # argv is everybody's to read
        flag: dict[str, Any] = {"nargs": "?", "const": "true"} if info.annotation is bool else {}
        parser.add_argument(
            option(field), metavar=(info.examples or [""])[0], help=info.description, **flag
        )
    return vars(parser.parse_args(list(options)))


def _problem(detail: Any, given: Mapping[str, Any], variables: Mapping[str, str]) -> str:
    """Write one mistake: the setting, what is wrong with the value, and an example.

    `variables` are a launcher's, by the settings that were read from them.
    """
    field = str(detail["loc"][0])
    example = _example(field)
    if detail["type"] == "missing":
        what = "is missing"
    elif detail["type"] == "value_error":
        what = f"{detail['ctx']['error']}{_shown(field, given)}"
    else:
        message = re.sub(r"^Input should be ", "must be ", detail["msg"])
        what = f"{message}{_shown(field, given)}"
    subject = variables.get(field, variable(field))
    return f"{subject} {what} (example: {variable(field)}={example})"


def _runner_dir(given: Mapping[str, Any]) -> list[str]:
    """Check that the runner is where it is said to be."""
    try:
        values.runner_dir(Path(given.get("runner_dir", host.DEFAULT_RUNNER_DIR)))
    except ValueError as error:
        shown = _shown("runner_dir", {"runner_dir": host.DEFAULT_RUNNER_DIR, **given})
        example = _example("runner_dir")
        return [f"SIDECAR_RUNNER_DIR {error}{shown} (example: SIDECAR_RUNNER_DIR={example})"]
    return []


def _example(field: str) -> str:
    return str((Settings.model_fields[field].examples or [""])[0])


def _shown(field: str, given: Mapping[str, Any]) -> str:
    """Quote a wrong value, but for what may be a secret in the wrong place."""
    if not Settings.model_fields[field].repr:
        return ""
    value = re.sub(r"//[^/@]*@", "//***@", str(given.get(field)))
    return f", not {value!r}"


def _said(given: Mapping[str, Any], field: str) -> bool:
    """Whether a switch is on, as far as that can be told of a value that may be wrong."""
    return str(given.get(field, "")).lower() in {"1", "true", "yes", "on", "t", "y"}


def _contradictions(given: Mapping[str, Any]) -> list[str]:
    problems = []
    said = partial(_said, given)
    if "name" in given and "name_prefix" in given:
        problems.append(
            "SIDECAR_NAME_PREFIX contradicts SIDECAR_NAME: a given name has no prefix "
            "(example: leave SIDECAR_NAME_PREFIX out)"
        )
    if said("no_default_labels") and not str(given.get("labels", "")).strip(" ,"):
        problems.append(
            "SIDECAR_NO_DEFAULT_LABELS leaves the runner without any label: set SIDECAR_LABELS "
            "(example: SIDECAR_LABELS=ecs)"
        )
    if said("relay_required") and str(given.get("relay", "auto")).lower() == "off":
        problems.append(
            "SIDECAR_RELAY_REQUIRED contradicts SIDECAR_RELAY=off (example: SIDECAR_RELAY=auto)"
        )
    if said("docker_strict") and str(given.get("docker_proxy", "auto")).lower() == "off":
        problems.append(
            "SIDECAR_DOCKER_STRICT contradicts SIDECAR_DOCKER_PROXY=off: it is the proxy that "
            "refuses (example: SIDECAR_DOCKER_PROXY=auto)"
        )
    for field in ("job_role_arn", "job_policy"):
        if field in given and str(given.get("relay", "auto")).lower() == "off":
            problems.append(
                f"{variable(field)} contradicts SIDECAR_RELAY=off: jobs get it through the relay "
                "(example: SIDECAR_RELAY=auto)"
            )
        if field in given and str(given.get("relay", "auto")).lower() == "pass-through":
            problems.append(
                f"{variable(field)} contradicts SIDECAR_RELAY=pass-through: containers would get "
                "the task role (example: SIDECAR_RELAY=auto)"
            )
    return problems


def _sources(given: Mapping[str, Any]) -> list[str]:
    """Check that there is one way to the right to register, and that it is whole."""
    app, pat = "github_app_id" in given or "github_app_key" in given, "github_pat" in given
    brought = "token_parameter" in given or "token" in given
    problems = []
    if not (app or pat or brought):
        problems.append(
            "SIDECAR_TOKEN_PARAMETER is missing, and so are SIDECAR_GITHUB_APP_ID and "
            "SIDECAR_GITHUB_PAT (example: SIDECAR_TOKEN_PARAMETER=/actions/tokens/0f3a)"
        )
    if "token_parameter" in given and "token" in given:
        problems.append(
            "SIDECAR_TOKEN contradicts SIDECAR_TOKEN_PARAMETER: one of them holds the token "
            "(example: leave SIDECAR_TOKEN out)"
        )
    problems += _credentials(given, app=app, pat=pat)
    if (app or pat) and "github_url" not in given and not brought:
        problems.append(
            "SIDECAR_GITHUB_URL is missing: there is no parameter to bring it "
            "(example: SIDECAR_GITHUB_URL=https://github.com/octo-org/octo-repo)"
        )
    if _said(given, "just_in_time") and (brought or not (app or pat)):
        problems.append(
            "SIDECAR_JUST_IN_TIME needs SIDECAR_GITHUB_APP_ID or SIDECAR_GITHUB_PAT, and no "
            "SIDECAR_TOKEN_PARAMETER (example: leave SIDECAR_JUST_IN_TIME out)"
        )
    return problems


def _credentials(given: Mapping[str, Any], *, app: bool, pat: bool) -> list[str]:
    problems = []
    if app and not ("github_app_id" in given and "github_app_key" in given):
        missing = "KEY" if "github_app_id" in given else "ID"
        problems.append(
            f"SIDECAR_GITHUB_APP_{missing} is missing: an App is its id and its key "
            "(example: SIDECAR_GITHUB_APP_KEY=file:/run/secrets/app.pem)"
        )
    if app and pat:
        problems.append(
            "SIDECAR_GITHUB_PAT contradicts SIDECAR_GITHUB_APP_ID: the agent is one or the other "
            "(example: leave SIDECAR_GITHUB_PAT out)"
        )
    return problems


def _usual_user(launcher: contracts.Reading, command: Sequence[str]) -> str:
    """Say who the runner's processes, or a command, run as where nobody says it.

    The command of a launcher is root nowhere: actions/runner would refuse to be configured.
    """
    if not command:
        return "runner"
    return "runner" if launcher.contract and host.identity("runner") else "root"


def _user(given: str | None, default: str) -> tuple[host.Identity | None, list[str]]:
    """Decide who the runner's processes run as; None means: as the agent itself."""
    if not host.is_root():
        if given is None or given == host.own_name():
            return None, []
        problem = (
            f"SIDECAR_RUNNER_USER cannot be {given!r}: the agent is not root and stays "
            f"{host.own_name()!r} (example: leave SIDECAR_RUNNER_USER out)"
        )
        return None, [problem]
    name = given or default
    if name == "root":
        return None, []
    user = host.identity(name)
    if user is None:
        problem = (
            f"SIDECAR_RUNNER_USER names no user of this system: {name!r} "
            "(example: SIDECAR_RUNNER_USER=runner, after useradd runner)"
        )
        return None, [problem]
    return user, []
