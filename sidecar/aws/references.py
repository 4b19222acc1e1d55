"""Read a reference to a secret or a parameter: what holds it, where, and which part is meant.

Pure, and without a library: the launcher's webhook function imports it too.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

FILE, SSM, SECRETS_MANAGER = "file", "ssm", "secretsmanager"
KINDS = (FILE, SSM, SECRETS_MANAGER)
ARN = re.compile(r"arn:aws[a-z-]*:([a-z0-9-]+):([a-z0-9-]+):\d*:.+", re.DOTALL)
ARN_PARTS = 7
"""Parts of a secret's ARN, with colons between them: the last one is its name."""
EXAMPLE = "arn:aws:secretsmanager:…:secret:name-AbCdEf:KEY::"


@dataclass(frozen=True, slots=True)
class Reference:
    """A place where a secret stands."""

    kind: str
    """One of KINDS; empty where the text is the secret itself."""
    name: str
    """Path, name or ARN, without what follows it."""
    region: str | None = None
    """The region that an ARN names."""
    key: str | None = None
    """Of a secret that is JSON; so are stage and version those of a secret alone."""
    stage: str | None = None
    version: str | None = None

    @property
    def version_arguments(self) -> dict[str, str]:
        """Return the version that is meant, as arguments of secretsmanager:GetSecretValue."""
        given = {"VersionStage": self.stage, "VersionId": self.version}
        return {name: value for name, value in given.items() if value}


def parse_reference(text: str) -> Reference:
    """Read `file:`, `ssm:` or `secretsmanager:` and a name, or an ARN of one of the two.

    A secret's name or ARN may be followed by `:key:stage:version`, as ECS reads it in a task
    definition; each of the three may be empty. Raises ValueError.
    """
    kind, _, name = text.strip().partition(":")
    if (service := _find_service(text.strip())) in (SSM, SECRETS_MANAGER):
        kind, name = service, text.strip()
    if kind not in KINDS:
        return Reference("", text)
    name = name if kind == FILE else name.strip()
    if kind == SECRETS_MANAGER:
        return _parse_secret(name)
    return Reference(kind, name, find_region(name) if kind == SSM else None)


def find_region(name: str) -> str | None:
    """Return the region of an ARN; None for what is no ARN."""
    found = ARN.fullmatch(name)
    return found[2] if found else None


def _find_service(name: str) -> str | None:
    found = ARN.fullmatch(name)
    return found[1] if found else None


def _parse_secret(name: str) -> Reference:
    parts = name.split(":")
    own = ARN_PARTS if name.startswith("arn:") else 1
    more = [part or None for part in parts[own:]]
    if len(more) > 3:
        message = "has more behind the secret's name than :key:stage:version"
        raise ValueError(message)
    key, stage, version = [*more, None, None, None][:3]
    whole = ":".join(parts[:own])
    return Reference(SECRETS_MANAGER, whole, find_region(whole), key, stage, version)


def pick_value(
    text: str, key: str | None = None, is_meant: Callable[[str], bool] = lambda _: False
) -> str:
    """Return what is meant of a secret that may be JSON: the value of `key`, or the only one.

    Where several are there and no key is named, it is the only one that `is_meant`. Raises
    ValueError, which never shows a value.
    """
    fields = _read_object(text)
    if key is not None:
        if fields is None:
            message = f"is no JSON object, so it has no key {key}"
            raise ValueError(message)
        return _read_text(fields, key)
    if not fields:
        return text
    if len(fields) > 1:
        fields = {
            name: value
            for name, value in fields.items()
            if isinstance(value, str) and is_meant(value)
        } or fields
    if len(fields) > 1:
        message = f"is JSON with {len(fields)} keys: name the one that is meant, as in {EXAMPLE}"
        raise ValueError(message)
    return _read_text(fields, next(iter(fields)))


def _read_object(text: str) -> dict[str, object] | None:
    if not text.lstrip("\ufeff \t\r\n").startswith("{"):
        return None
    try:
        found = json.loads(text.strip("\ufeff \t\r\n"))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _read_text(fields: dict[str, object], key: str) -> str:
    if key not in fields:
        message = f"has no key {key}"
        raise ValueError(message)
    value = fields[key]
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        message = "holds no text under the key that is meant"
        raise ValueError(message)
    return str(value)
