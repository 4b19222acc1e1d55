"""Read settings from options and environment, and report all mistakes at once.

Nothing else reads the environment, with one exception: the Lambda function of the webhook, which
loads no library (`launcher.lambdas`).
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any, TypeVar, overload

from pydantic import ValidationError

from launcher.errors import SettingsError
from launcher.settings.model import MODELS, PREFIX, LogSettings, Settings, line, variable
from sidecar import values

if TYPE_CHECKING:
    from collections.abc import Mapping

Model = TypeVar("Model", bound=LogSettings)


@overload
def load(options: Mapping[str, Any], environ: Mapping[str, str]) -> tuple[Settings, list[str]]: ...


@overload
def load(
    options: Mapping[str, Any], environ: Mapping[str, str], model: type[Model]
) -> tuple[Model, list[str]]: ...


def load(
    options: Mapping[str, Any],
    environ: Mapping[str, str],
    model: type[LogSettings] = Settings,
) -> tuple[LogSettings, list[str]]:
    """Read settings; options win over the environment. Also returns a line per unknown variable.

    Raises SettingsError with one line for every mistake.
    """
    given, warnings = _read_environment(environ, model)
    given |= options
    given, quoted = values.strip_all_quotes(given)
    warnings += values.warn_of_quotes(map(variable, quoted))
    problems = _check_quotes(given, model)
    settings: LogSettings | None = None
    try:
        settings = model(**given)
    except ValidationError as error:
        problems += [_describe(detail, given, model) for detail in error.errors(include_url=False)]
    problems += model.check_together(given)
    if problems or settings is None:
        raise SettingsError(*problems)
    return settings, warnings


def _read_environment(
    environ: Mapping[str, str], model: type[LogSettings]
) -> tuple[dict[str, Any], list[str]]:
    """Read what this command has; a setting of another command is neither read nor unknown."""
    every = list(dict.fromkeys(field for each in MODELS.values() for field in each.model_fields))
    known = {variable(field): field for field in every}
    given: dict[str, Any] = {}
    warnings = []
    for key, value in environ.items():
        if not key.startswith(PREFIX):
            continue
        if key not in known:
            nearest = difflib.get_close_matches(key.removeprefix(PREFIX).lower(), every, n=1)
            hint = f"; did you mean {variable(nearest[0])}?" if nearest else ""
            warnings.append(f"{key} is not a setting{hint}")
        elif value.strip() and known[key] in model.model_fields:
            # An empty variable is how workflows say "not set".
            given[known[key]] = value.strip()
    return given, warnings


def _check_quotes(given: Mapping[str, Any], model: type[LogSettings]) -> list[str]:
    """Check that no value has a quotation mark of which there is no second one."""
    problems = []
    for field, value in given.items():
        try:
            values.check_quotes(value if isinstance(value, str) else "")
        except ValueError as error:
            problems.append(line(field, str(error), model))
    return problems


def _describe(detail: Any, given: Mapping[str, Any], model: type[LogSettings]) -> str:
    """Describe one mistake: the setting, what is wrong with its value, and an example."""
    field = str(detail["loc"][0])
    shown = f", not {given.get(field)!r}" if model.model_fields[field].repr else ""
    match detail["type"]:
        case "missing":
            what = "is missing"
        case "value_error":
            what = f"{detail['ctx']['error']}{shown}"
        case _:
            what = re.sub(r"^Input should be ", "must be ", detail["msg"]) + shown
    return line(field, what, model)
