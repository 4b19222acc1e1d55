"""What a token parameter may hold: a right to register, in one of the forms launchers write."""

from __future__ import annotations

import base64
import json
import re
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sidecar import values
from sidecar.errors import TokenError

if TYPE_CHECKING:
    from collections.abc import Callable

BARE = re.compile(r"[A-Za-z0-9_.=/+-]{8,4096}")
JIT_FILES = {".runner", ".credentials", ".credentials_rsaparams"}
JIT_FILE = re.compile(r"\.[a-z_]{1,40}")
LONGEST_FILE = 64 * 1024


@dataclass(frozen=True, slots=True)
class RegistrationToken:
    """The right to register one runner, and what its giver says about where and as what.

    Exactly one of `token` and `jit` is there: a registration token, or the configuration files
    of a runner that is registered already (just in time).
    """

    token: str | None = field(default=None, repr=False)
    jit: dict[str, bytes] | None = field(default=None, repr=False)
    url: str | None = None
    name: str | None = None
    labels: tuple[str, ...] = ()
    group: str | None = None
    work_dir: str | None = None
    no_default_labels: bool = False
    runner_id: int | None = None
    """Of a just-in-time runner."""


def parse(text: str, where: str) -> RegistrationToken:
    """Read a parameter's value; raises TokenError that names `where` and never quotes the value."""
    value = text.strip()
    if not value:
        raise TokenError(f"cannot use {where}: its value is empty")
    if value.startswith("{"):
        return _json(value, where)
    if value.startswith("--"):
        return _arguments(value, where)
    return jit(value, where) or _bare(value, where)


def _bare(value: str, where: str) -> RegistrationToken:
    if not BARE.fullmatch(value) or value.startswith("-"):
        raise TokenError(
            f"cannot use {where}: its value is no registration token, no JSON with a token, "
            "no arguments of config.sh and no just-in-time configuration"
        )
    return RegistrationToken(token=value)


# ---- JSON -------------------------------------------------------------------------------------


def _json(value: str, where: str) -> RegistrationToken:
    try:
        content = json.loads(value)
    except (ValueError, RecursionError) as error:
        # The decoder's message tells the place; its exception would carry the value along.
        raise TokenError(f"cannot use {where}: its JSON is malformed: {error.args[0]}") from None
    token = content.get("token")
    if not isinstance(token, str) or not token.strip():
        raise TokenError(f'cannot use {where}: its JSON holds no "token"')
    said = _checked(
        content,
        {"url": values.github_url, "name": values.runner_name, "labels": values.labels},
        where,
    )
    return RegistrationToken(token=_bare(token.strip(), where).token, **said)


def _checked(
    content: dict[str, Any], checks: dict[str, Callable[[Any], Any]], where: str
) -> dict[str, Any]:
    said = {}
    for key, check in checks.items():
        if content.get(key) in (None, "", []):
            continue
        try:
            said[key] = check(content[key])
        except (ValueError, TypeError, AttributeError) as error:
            raise TokenError(f'cannot use {where}: its "{key}" {error}') from None
    return said


# ---- arguments of config.sh -------------------------------------------------------------------


def _arguments(value: str, where: str) -> RegistrationToken:
    """Read `--url … --token … --labels …`, as terraform-aws-github-runner writes them.

    Values may be shell-quoted or not at all: a runner group of two words stands there bare, so
    a value is everything up to the next flag.
    """
    try:
        words = shlex.split(value)
    except ValueError:
        raise TokenError(f"cannot use {where}: its arguments are quoted wrongly") from None
    given: dict[str, str] = {}
    flag = ""
    for word in words:
        if word.startswith("--"):
            flag, _, first = word[2:].partition("=")
            given[flag] = first
        else:
            given[flag] = f"{given[flag]} {word}".strip()
    if not given.get("token"):
        raise TokenError(f"cannot use {where}: its arguments hold no --token")
    said = _checked(
        given,
        {
            "url": values.github_url,
            "name": values.runner_name,
            "labels": values.labels,
            "runnergroup": values.plain,
            "work": values.plain,
        },
        where,
    )
    return RegistrationToken(
        token=_bare(given["token"], where).token,
        url=said.get("url"),
        name=said.get("name"),
        labels=said.get("labels", ()),
        group=said.get("runnergroup"),
        work_dir=said.get("work"),
        no_default_labels="no-default-labels" in given,
    )


# ---- just in time -----------------------------------------------------------------------------


def jit(value: str, where: str) -> RegistrationToken | None:
    """Read a just-in-time configuration: base64 of JSON {file name: base64 of its content}.

    None if it is something else. Keys within `.runner` are PascalCase with string values there.
    """
    try:
        content = json.loads(base64.b64decode(value, validate=True))
        if not isinstance(content, dict) or ".runner" not in content:
            return None
    except (ValueError, RecursionError):
        return None
    try:
        files = {name: base64.b64decode(text, validate=True) for name, text in content.items()}
        settings = {
            key.lower(): str(item)
            for key, item in json.loads(files[".runner"].decode("utf-8-sig")).items()
        }
        runner_id = int(settings["agentid"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise TokenError(f"cannot use {where}: its just-in-time configuration is broken") from None
    if not set(files) >= JIT_FILES or not all(map(_harmless, files.items())):
        raise TokenError(f"cannot use {where}: its just-in-time configuration is not complete")
    return RegistrationToken(jit=files, runner_id=runner_id, name=settings.get("agentname"))


def _harmless(file: tuple[str, bytes]) -> bool:
    """Whether it is a file that the runner itself would write into its folder."""
    name, content = file
    return bool(JIT_FILE.fullmatch(name)) and len(content) <= LONGEST_FILE
