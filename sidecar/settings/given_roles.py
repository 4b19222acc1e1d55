"""Read SIDECAR_ROLES: the rules themselves, a file of them, or the names of SSM parameters."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator

from sidecar import host
from sidecar.roles.document import LONGEST_DOCUMENT, RolesError, parse_roles
from sidecar.roles.rules import Roles

SETTING = "SIDECAR_ROLES"
FILE, SSM = "file:", "ssm:"
_PARAMETER = re.compile(r"[A-Za-z0-9_.:/-]{1,2048}")


@dataclass(frozen=True, slots=True)
class RolesParameters:
    """The SSM parameters whose texts, one after the other, are the rules."""

    names: tuple[str, ...]


def read_roles(value: object) -> Roles | RolesParameters | None:
    """Read the setting. What is in SSM is read later, by the life. Raises ValueError."""
    if value is None or isinstance(value, Roles | RolesParameters):
        return value
    text = str(value)
    if text.startswith(SSM):
        names = tuple(name.strip() for name in text.removeprefix(SSM).split("+"))
        if not all(_PARAMETER.fullmatch(name) for name in names):
            message = "must be ssm: and the name of a parameter, or several with '+' between them"
            raise ValueError(message)
        return RolesParameters(names)
    if text.startswith(FILE):
        text = _read_file(text.removeprefix(FILE))
    return parse_roles(text)


def _read_file(path: str) -> str:
    try:
        return host.read_given(Path(path), LONGEST_DOCUMENT).decode()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        message = f"cannot be read from {path}: {reason}"
        raise ValueError(message) from error


if TYPE_CHECKING:
    GivenRoles = Roles | RolesParameters | None
else:  # the settings' library would look for validators of every part of the rules
    GivenRoles = Annotated[Any, BeforeValidator(read_roles)]


def describe_roles(error: RolesError) -> list[str]:
    """Return one line for each mistake in the rules, with the setting's name."""
    return [f"{SETTING}: {line}" for line in error.lines]
