"""Read the launcher's settings from options and environment; nothing else reads the environment.

Each is a `LAUNCHER_*` variable; what is no secret is an option too. Region, endpoints and
credentials of AWS are set by AWS's own variables. All mistakes are reported at once.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from launcher.errors import SettingsError
from launcher.identity import LONGEST_PREFIX
from sidecar import values

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "LAUNCHER_"
SECRETS = ("github_app_key", "github_pat")
"""Settings that are variables only: everybody may read a command line."""


def setting(default: Any, help_: str, example: str, **more: Any) -> Any:
    """Define one setting: its default, its line of help, and the example that its errors show."""
    return Field(default=default, description=help_, examples=[example], **more)


def required(help_: str, example: str) -> Any:
    """Define a setting without a default."""
    return Field(description=help_, examples=[example])


def parse_names(value: object) -> object:
    """Read names separated by commas; each is kept once, in order."""
    if not isinstance(value, str):
        return value
    return tuple(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))


def check_name(value: str) -> str:
    """Check a name of AWS's, or its ARN."""
    if not re.fullmatch(r"[A-Za-z0-9_:/.-]{1,2048}", value):
        message = "must be a name or an ARN"
        raise ValueError(message)
    return value


def check_deployment(value: str) -> str:
    """Check the name of this deployment: it becomes a tag."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", value):
        message = "must be 1 to 64 letters, digits, '_' or '-'"
        raise ValueError(message)
    return value


def check_parameter_prefix(value: str) -> str:
    """Check the path of the token parameters; return it without a last slash."""
    if not re.fullmatch(r"(/[A-Za-z0-9_.-]{1,100}){1,10}/?", value):
        message = "must be a path of SSM parameters that begins with '/'"
        raise ValueError(message)
    return value.rstrip("/")


def check_name_prefix(value: str) -> str:
    """Check the prefix of the runners' names; the task's id follows it."""
    if len(value) > LONGEST_PREFIX:
        message = f"must leave room for the task's id: {LONGEST_PREFIX} at most"
        raise ValueError(message)
    return values.check_runner_name(value)


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(parse_names)]


class Settings(BaseSettings):
    """The settings of the launcher, checked and frozen."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        extra="ignore",
        validate_default=False,
        hide_input_in_errors=True,
    )

    github_url: Annotated[str, AfterValidator(values.check_github_url)] = required(
        "repository, organization or enterprise whose jobs the runners take",
        "https://github.com/octo-org/octo-repo",
    )
    github_app_id: Annotated[str, AfterValidator(values.check_argument)] | None = setting(
        None, "id or client id of the GitHub App that registers the runners", "123456"
    )
    github_app_key: SecretStr | None = setting(
        None,
        "private key of the App (PEM), or its place: file:, ssm: or secretsmanager: and a name",
        "file:/run/secrets/app.pem",
        repr=False,
    )
    github_pat: SecretStr | None = setting(
        None,
        "personal access token that registers the runners, or file:, ssm: or secretsmanager: "
        "and a name",
        "secretsmanager:runner-pat",
        repr=False,
    )
    cluster: Annotated[str, AfterValidator(check_name)] = required(
        "ECS cluster that the tasks run in, by name or ARN", "runners"
    )
    task_definition: Annotated[str, AfterValidator(check_name)] = required(
        "task definition of the runners: family, family:revision or ARN", "runner"
    )
    container: Annotated[str, AfterValidator(check_name)] = setting(
        "runner", "container of the task definition that holds the agent", "runner"
    )
    capacity_providers: Names = setting(
        (),
        "capacity providers in the order in which they are asked; default: the cluster's own",
        "FARGATE_SPOT,FARGATE",
    )
    launch_type: Literal["EC2", "FARGATE", "EXTERNAL"] | None = setting(
        None, "launch type, instead of capacity providers", "FARGATE"
    )
    subnets: Names = setting(
        (), "subnets of the tasks, where they have interfaces of their own", "subnet-0a,subnet-0b"
    )
    security_groups: Names = setting((), "security groups of the tasks", "sg-0123")
    public_ip: bool = setting(
        False,
        "give each task a public address: without NAT gateway it reaches nothing else",
        "true",
    )
    parameter_prefix: Annotated[str, AfterValidator(check_parameter_prefix)] = setting(
        "/runner-launcher/tokens",
        "path of the SSM parameters that hold the tokens; the task's id follows it",
        "/runner-launcher/tokens",
    )
    just_in_time: bool = setting(
        True,
        "register each runner just in time; false: the agent registers it by a registration token",
        "false",
    )
    runner_group: Annotated[str, AfterValidator(values.check_argument)] | None = setting(
        None, "runner group: its number just in time, else its name", "3"
    )
    name_prefix: Annotated[str, AfterValidator(check_name_prefix)] = setting(
        "ecs-", "prefix of the runners' names; the task's id follows it", "ecs-"
    )
    deployment: Annotated[str, AfterValidator(check_deployment)] = setting(
        "default", "name that keeps several launchers in one account apart", "team-a"
    )
    log_format: Annotated[
        Literal["json", "console", "auto"], BeforeValidator(values.lower_case)
    ] = setting("auto", "json, console, or auto: console on a terminal", "json")
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], BeforeValidator(values.lower_case)
    ] = setting("info", "debug, info, warning or error", "info")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource,
        **__: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take only what `load` passes: it merges options and environment itself."""
        return (init_settings,)


def option(field: str) -> str:
    """Return the option of a setting: `launch_type` is `--launch-type`."""
    return "--" + field.replace("_", "-")


def variable(field: str) -> str:
    """Return the variable of a setting: `launch_type` is `LAUNCHER_LAUNCH_TYPE`."""
    return PREFIX + field.upper()


def example(field: str) -> str:
    """Return the example value of a setting."""
    return str((Settings.model_fields[field].examples or [""])[0])


def load(options: Mapping[str, Any], environ: Mapping[str, str]) -> tuple[Settings, list[str]]:
    """Read settings; options win over the environment. Also returns a line per unknown variable.

    Raises SettingsError with one line for every mistake.
    """
    given, warnings = _read_environment(environ)
    given |= options
    problems: list[str] = []
    settings: Settings | None = None
    try:
        settings = Settings(**given)
    except ValidationError as error:
        problems += [_describe(detail, given) for detail in error.errors(include_url=False)]
    problems += _check_together(given)
    if problems or settings is None:
        raise SettingsError(*problems)
    return settings, warnings


def _read_environment(environ: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    known = {variable(field): field for field in Settings.model_fields}
    given: dict[str, Any] = {}
    warnings = []
    for key, value in environ.items():
        if not key.startswith(PREFIX):
            continue
        if key not in known:
            own = key.removeprefix(PREFIX).lower()
            nearest = difflib.get_close_matches(own, Settings.model_fields, n=1)
            hint = f"; did you mean {variable(nearest[0])}?" if nearest else ""
            warnings.append(f"{key} is not a setting{hint}")
        elif value.strip():  # an empty variable is how workflows say "not set"
            given[known[key]] = value.strip()
    return given, warnings


def _check_together(given: Mapping[str, Any]) -> list[str]:
    """Check that the settings fit together."""
    problems = _check_credential(given)
    if "launch_type" in given and "capacity_providers" in given:
        problems.append(
            _line("launch_type", "contradicts LAUNCHER_CAPACITY_PROVIDERS: ECS takes one of them")
        )
    if ("security_groups" in given or "public_ip" in given) and "subnets" not in given:
        problems.append(_line("subnets", "is missing: a network interface needs a subnet"))
    just_in_time = str(given.get("just_in_time", "true")).lower() in ("true", "1", "yes", "on")
    if just_in_time and not str(given.get("runner_group", "1")).isdigit():
        problems.append(_line("runner_group", "must be the group's number just in time"))
    return problems


def _check_credential(given: Mapping[str, Any]) -> list[str]:
    """Check that there is one credential for GitHub, and that it is complete."""
    app, pat = "github_app_id" in given or "github_app_key" in given, "github_pat" in given
    if not (app or pat):
        return [_line("github_app_id", "is missing, and so is LAUNCHER_GITHUB_PAT")]
    if app and pat:
        return [_line("github_pat", "contradicts LAUNCHER_GITHUB_APP_ID: set one of them")]
    return [
        _line(field, "is missing: an App is its id and its key")
        for field in ("github_app_id", "github_app_key")
        if app and field not in given
    ]


def _describe(detail: Any, given: Mapping[str, Any]) -> str:
    """Describe one mistake: the setting, what is wrong with its value, and an example."""
    field = str(detail["loc"][0])
    info = Settings.model_fields[field]
    shown = f", not {given.get(field)!r}" if info.repr else ""
    match detail["type"]:
        case "missing":
            what = "is missing"
        case "value_error":
            what = f"{detail['ctx']['error']}{shown}"
        case _:
            what = re.sub(r"^Input should be ", "must be ", detail["msg"]) + shown
    return _line(field, what)


def _line(field: str, what: str) -> str:
    return f"{variable(field)} {what} (example: {variable(field)}={example(field)})"
