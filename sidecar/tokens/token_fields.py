"""Read the fields that came with a registration token: the same ones in each of its forms.

A key that nobody knows is refused: a runner group that is dropped would put the runner into the
default group, which other repositories may use.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

from sidecar.errors import TokenError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    T = TypeVar("T")

FIELDS = {
    "token": ("token",),
    "jit_config": ("jit_config", "encoded_jit_config", "jitconfig"),
    "url": ("url", "github_url"),
    "name": ("name",),
    "labels": ("labels",),
    "group": ("group", "runner_group", "runnergroup"),
    "work_dir": ("work_dir", "work", "work_folder"),
    "no_default_labels": ("no_default_labels",),
    "policy": ("policy",),
    "keep": ("keep",),
}
"""The names of each field: here, in GitHub's API, among the settings, as a flag of config.sh."""
OF_GITHUB = frozenset(
    {"expires_at", "permissions", "repositories", "repository_selection", "runner", "single_file"}
)
"""The other keys of GitHub's own answers; none of them changes what is registered."""
OF_PROGRAM = frozenset(
    {"disableupdate", "ephemeral", "generateserviceconfig", "replace", "runasservice", "unattended"}
)
"""Flags of config.sh that the agent sets by itself, or has no use for."""
SHOWN = re.compile(r"[A-Za-z_-]{1,40}")
"""A key that an error may repeat: none of GitHub's tokens is without a digit."""


class Fields:
    """The fields of one token, by their own names. Each reader raises TokenError."""

    def __init__(self, given: Mapping[str, Any], names: Mapping[str, str], where: str) -> None:
        self._given = given
        self._names = names
        self._where = where

    def has(self, field: str) -> bool:
        """Say whether the field is there, and not empty."""
        return self._given.get(field) not in (None, "", [])

    def error(self, field: str, what: str) -> TokenError:
        """Make the error that a field is wrong; it has the name that was written."""
        return TokenError(f'cannot use {self._where}: its "{self._names[field]}" {what}')

    def check(self, field: str, check: Callable[[Any], T]) -> T | None:
        """Return a field as its check does; None where it is not there, or empty."""
        if not self.has(field):
            return None
        value = self._given[field]
        if not isinstance(value, str) and field != "labels":
            raise self.error(field, "must be text")
        try:
            return check(value)
        except (ValueError, TypeError, AttributeError) as error:
            raise self.error(field, str(error)) from None

    def text(self, field: str) -> str:
        """Return a text as it is; "" where it is not there, or something else."""
        value = self._given.get(field)
        return value if isinstance(value, str) else ""

    def flag(self, field: str) -> bool:
        """Return true or false, also where it is written as text; missing is false."""
        value = self._given.get(field)
        if isinstance(value, bool | None):
            return bool(value)
        if not isinstance(value, str) or value.lower() not in ("true", "false"):
            raise self.error(field, "must be true or false")
        return value.lower() == "true"

    def table(self, field: str) -> dict[str, Any] | None:
        """Return an object. One that is there and cannot be read is never taken for none."""
        if field not in self._given:
            return None
        if not isinstance(value := self._given[field], dict):
            raise self.error(field, "must be an object")
        return value


def read_fields(given: Mapping[str, Any], ignored: frozenset[str], where: str) -> Fields:
    """Sort what is given by the fields' own names; some names are known and `ignored`.

    Raises TokenError for any other name, and for two names of one field that say two things.
    """
    own = {name: field for field, names in FIELDS.items() for name in names}
    found: dict[str, Any] = {}
    names: dict[str, str] = {}
    for name, value in given.items():
        if name in ignored:
            continue
        if (field := own.get(name)) is None:
            shown = f'"{name}"' if SHOWN.fullmatch(name) else "one key"
            known = ", ".join(FIELDS)
            raise TokenError(f"cannot use {where}: {shown} is not known there (known: {known})")
        if field in found and found[field] != value:
            raise TokenError(f'cannot use {where}: its "{name}" contradicts its "{names[field]}"')
        found[field], names[field] = value, name
    return Fields(found, names, where)


def find_jit_config(given: Mapping[str, Any]) -> str | None:
    """Return the just-in-time configuration as it was given."""
    found = next((given[name] for name in FIELDS["jit_config"] if given.get(name)), None)
    return found if isinstance(found, str) else None
