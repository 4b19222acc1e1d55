"""Read the settings from options and environment; nothing else reads the environment.

The result is checked and frozen. All mistakes are reported at once.
"""

from __future__ import annotations

import argparse
import difflib
from typing import TYPE_CHECKING, Any, NoReturn

from pydantic import ValidationError

from sidecar import values
from sidecar.errors import SettingsError
from sidecar.net import proxy
from sidecar.roles.rules import Roles
from sidecar.settings import checks, contracts, platform
from sidecar.settings.contracts.contract import REGION, tag
from sidecar.settings.model import (
    PREFIX,
    SECRETS,
    SOURCES,
    TAGGED,
    Configuration,
    Settings,
    Task,
    option,
    variable,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def load(
    options: Sequence[str],
    environ: Mapping[str, str],
    machine: Mapping[str, str] | None = None,
    no_machine: str = "",
) -> Configuration:
    """Read options and environment. Raises SettingsError with one line for every mistake.

    `machine`: on EC2, what the instance metadata service says about this machine, by the names
    that it has there (`instance-id`, `placement/region`, `tags/instance/<key>`); `no_machine`: why
    that is not known.
    What follows `--` among the options is a command to supervise. The command may register a
    runner itself, so no setting of a registration is required, and it gets a launcher's variables.
    """
    config, problems = read(options, environ, machine, no_machine)
    if problems:
        raise SettingsError(*problems)
    return config


def read(
    options: Sequence[str],
    environ: Mapping[str, str],
    machine: Mapping[str, str] | None = None,
    no_machine: str = "",
) -> tuple[Configuration, list[str]]:
    """Read options and environment as `load` does, and go on past mistakes.

    Returns what could be read, with a default in the place of what is wrong, and one line for every
    mistake. Raises SettingsError for options that are none.
    """
    options, command = _split_command(options)
    machine = machine or {}
    given, warnings = _read_environment(environ)
    given |= _read_options(options)
    tagged, ignored = _read_tags(machine)
    tagged = {field: value for field, value in tagged.items() if field not in given}
    given |= tagged
    warnings += ignored
    given, quoted = values.strip_all_quotes(given)
    launcher = _read_launcher(given, {**environ, **machine}, supervising=bool(command))
    warnings += values.warn_of_quotes([*map(variable, quoted), *launcher.quoted])
    given = {**launcher.settings, **given}
    sources = {**launcher.variables, **{field: tag(variable(field)) for field in tagged}}
    problems = list(launcher.problems)
    wanted = str(given.get("platform", platform.Platform.AUTO)).lower()
    problems += platform.check_platform(wanted, machine, no_machine, environ)
    settings, wrong = _make_settings(given, sources)
    problems += wrong
    roles = settings.roles if isinstance(settings.roles, Roles) else None
    problems += checks.check_roles(settings, roles, supervising=bool(command))
    problems += checks.check_quotes(given, sources)
    problems += checks.check_contradictions(given)
    problems += proxy.check(environ)
    proxies = proxy.clean(environ)
    warnings += values.warn_of_quotes(name for name in proxies if values.has_quotes(environ[name]))
    if not command:
        problems += checks.check_runner_dir(given)
        if not launcher.problems:
            problems += checks.check_token_sources(given, sources)
    user, user_problems = checks.choose_user(
        given.get("runner_user"), checks.default_user(launcher, command)
    )
    problems += user_problems
    config = Configuration(
        settings=settings,
        task=Task(
            region=values.strip_quotes(environ.get("AWS_REGION", ""))
            or machine.get(REGION)
            or launcher.region,
            metadata_uri=environ.get("ECS_CONTAINER_METADATA_URI_V4") or None,
            agent_uri=environ.get("ECS_AGENT_URI") or None,
            instance_uri=platform.find_url(environ),
            credentials_relative_uri=environ.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") or None,
            credentials_full_uri=environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI") or None,
            credentials_token=environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN") or None,
            credentials_token_file=environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") or None,
            docker_host=environ.get("DOCKER_HOST") or None,
        ),
        user=user,
        passed_on=_region_of(machine)
        | {
            key: value
            for key, value in environ.items()
            if not key.startswith(PREFIX) and key not in launcher.withheld
        }
        | proxies,
        warnings=tuple(warnings),
        launcher=launcher,
        machine=machine,
        command=command,
    )
    return config, problems


def _make_settings(
    given: Mapping[str, Any], sources: Mapping[str, str]
) -> tuple[Settings, list[str]]:
    """Make the settings of what is given, and a line for each value that is wrong and left out."""
    try:
        return Settings(**given), []
    except ValidationError as error:
        details = error.errors(include_url=False)
    wrong = {str(detail["loc"][0]) for detail in details}
    right = {field: value for field, value in given.items() if field not in wrong}
    return Settings(**right), [
        line for detail in details for line in checks.describe_problems(detail, given, sources)
    ]


def find_question(options: Sequence[str], environ: Mapping[str, str]) -> platform.Question | None:
    """Return the instance metadata service that `load` needs an answer of, None for none.

    Raises SettingsError for options that cannot be read, as `load` does.
    """
    given, _ = _read_environment(environ)
    given |= _read_options(_split_command(options)[0])
    given, _ = values.strip_all_quotes(given)
    wanted = str(given.get("platform", platform.Platform.AUTO)).lower()
    return platform.choose_question(wanted, environ)


def _region_of(machine: Mapping[str, str]) -> dict[str, str]:
    """Return the variable that ECS sets in a task, and nobody sets on a machine."""
    return {"AWS_REGION": machine[REGION]} if REGION in machine else {}


def _read_tags(machine: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Return the settings that are tags of the machine, and a warning for each other such tag."""
    given: dict[str, Any] = {}
    warnings: list[str] = []
    known = {tag(variable(field)): field for field in TAGGED}
    for key, value in machine.items():
        if not key.startswith(tag(PREFIX)):
            continue
        if key in known:
            if value.strip():
                given[known[key]] = value.strip()
        else:
            names = ", ".join(map(variable, TAGGED))
            warnings.append(f"{key} is not read: a tag may hold {names}")
    return given, warnings


def _split_command(options: Sequence[str]) -> tuple[Sequence[str], tuple[str, ...]]:
    """Separate the agent's options from a command that follows `--`."""
    if "--" not in options:
        return options, ()
    at = list(options).index("--")
    if not options[at + 1 :]:
        raise SettingsError("no command follows --; see runner-sidecar run --help")
    return options[:at], tuple(options[at + 1 :])


def _read_launcher(
    given: Mapping[str, Any], environ: Mapping[str, str], *, supervising: bool
) -> contracts.Reading:
    """Read a launcher's variables, unless its command is supervised and reads them itself."""
    choice = str(given.get("launcher", contracts.AUTO)).lower()
    if supervising:
        return contracts.recognise_launcher(environ, choice)
    sources = [variable(field) for field in SOURCES if field in given]
    # Options of these names are the launcher's mark as much as the variables are.
    marks = {variable(field): str(given[field]) for field in checks.LAUNCH if field in given}
    environ = {**environ, **marks}
    return contracts.read_launcher(environ, choice, given, sources)


def _read_environment(environ: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Return the settings that are set as variables, and a warning for each unknown variable."""
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
    """Reports a mistake as a SettingsError, not with argparse's own exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Raise SettingsError."""
        raise SettingsError(f"{message}; see runner-sidecar run --help")


def _read_options(options: Sequence[str]) -> dict[str, Any]:
    if not options:
        return {}
    words = {word.partition("=")[0] for word in options}
    if secrets := [field for field in sorted(SECRETS) if option(field) in words]:
        raise SettingsError(
            *(
                f"{variable(field)} is a variable only: everybody may read a command line "
                f"(example: {variable(field)}={checks.example(field)})"
                for field in secrets
            )
        )
    return vars(_make_parser().parse_args(list(options)))


def _make_parser() -> _Parser:
    """Make the parser of `run`; secrets are no options, since everybody may read a command line."""
    parser = _Parser(
        prog="runner-sidecar run",
        usage="runner-sidecar run [options] [-- COMMAND ...]",
        description="Run one GitHub Actions runner for one job. With COMMAND, run that instead: "
        "it gets signals and credentials, and nothing is registered. "
        "Every option is also a variable: --name-prefix is SIDECAR_NAME_PREFIX.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    for field, info in Settings.model_fields.items():
        if field in SECRETS:
            continue
        flag: dict[str, Any] = {"nargs": "?", "const": "true"} if info.annotation is bool else {}
        parser.add_argument(
            option(field), metavar=(info.examples or [""])[0], help=info.description, **flag
        )
    return parser
