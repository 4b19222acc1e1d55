"""Parse a registration token in each form that launchers write."""

from __future__ import annotations

import base64
import json
import re
import shlex
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import structlog

from sidecar import values
from sidecar.errors import TokenError
from sidecar.log import masks
from sidecar.tokens.token_fields import (
    FIELDS,
    OF_GITHUB,
    OF_PROGRAM,
    find_jit_config,
    read_fields,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sidecar.tokens.token_fields import Fields

log = structlog.get_logger()

BARE = re.compile(r"[A-Za-z0-9_.=/+-]{8,4096}")
FLAG = re.compile(r"\s*--(?P<flag>[^\s=]*)=?\s*")
WORD = re.compile(r"""\s*((?:'[^']*'|"(?:\\.|[^"\\])*"|\\.|[^\s'"\\])+)\s*""", re.DOTALL)
"""One word of a shell's command line, with its quotes."""
NEXT_FLAG = re.compile(r"(?<!\S)--[a-z]")
SWITCHES = {"no_default_labels", "keep"}
"""Fields that are flags without a value in the arguments of config.sh."""
JIT_NAMES = FIELDS["jit_config"]
JIT_FILES = {".runner", ".credentials", ".credentials_rsaparams"}
JIT_FILE = re.compile(r"\.[a-z_]{1,40}")
LONGEST_FILE = 64 * 1024


@dataclass(frozen=True, slots=True)
class RegistrationToken:
    """A registration token or a just-in-time configuration, and what the launcher said with it.

    At most one of `token` and `jit` is set: a token that registers a runner, or the configuration
    files of a runner that is registered already (just in time). With neither, the agent asks
    GitHub for a just-in-time configuration.
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
    policy: Mapping[str, Any] | None = None
    """Which jobs the runner may take (`sidecar.runner.job_policy` reads it); None: every job."""
    keep: bool = False
    """Whether the launcher deletes the token's parameter, which this task then leaves."""


def hide(text: str, token: RegistrationToken) -> None:
    """Keep a token out of the log, and the text that it was parsed from."""
    masks.hide(text.strip())
    text = values.strip_quotes(text)
    masks.hide(text)
    if token.token:
        masks.hide(token.token)
    if token.jit is not None:
        masks.hide(find_jit_config(_read_flat(text)) or "")


def _read_flat(text: str) -> Mapping[str, Any]:
    """Return what stands beside a configuration; nothing where the text is one alone."""
    if text.startswith("{"):
        return json.loads(text)  # type: ignore[no-any-return]  # it was parsed before
    return (_split_arguments(text) or {}) if text.startswith("--") else {}


def parse_token(text: str, where: str) -> RegistrationToken:
    """Parse a token's text. Raises TokenError that names `where` and never shows the text."""
    value = values.strip_quotes(text)
    if value != text.strip():
        log.warning("token.unquoted", where=where)
    if not value:
        raise TokenError(f"cannot use {where}: its value is empty")
    if value.startswith("{"):
        return _parse_json(value, where)
    if value.startswith("--"):
        return _parse_arguments(value, where)
    return parse_jit_config(value, where) or _parse_bare(value, where)


def _parse_bare(value: str, where: str) -> RegistrationToken:
    if not BARE.fullmatch(value) or value.startswith("-"):
        raise TokenError(
            f"cannot use {where}: its value is no registration token, no JSON with a token, "
            "no arguments of config.sh and no just-in-time configuration"
        )
    return RegistrationToken(token=value)


# ---- JSON -------------------------------------------------------------------------------------


def _parse_json(value: str, where: str) -> RegistrationToken:
    try:
        content = json.loads(value)
    except (ValueError, RecursionError) as error:
        # The decoder's message names the place; its exception holds the whole value.
        raise TokenError(f"cannot use {where}: its JSON is malformed: {error.args[0]}") from None
    token = content.get("token")
    if not (isinstance(token, str) and token.strip()) and not set(JIT_NAMES) & set(content):
        raise TokenError(f'cannot use {where}: its JSON holds no "token"')
    return _build(read_fields(content, OF_GITHUB, where), where)


def _build(fields: Fields, where: str) -> RegistrationToken:
    """Make the token of the fields that came with it, in whatever form they did."""
    policy, keep = fields.table("policy"), fields.flag("keep")
    url = fields.check("url", values.check_github_url)
    name = fields.check("name", values.check_runner_name)
    more: dict[str, Any] = {
        "labels": fields.check("labels", values.parse_labels) or (),
        "group": fields.check("group", values.check_argument),
        "work_dir": fields.check("work_dir", values.check_argument),
        "no_default_labels": fields.flag("no_default_labels"),
    }
    if not fields.has("jit_config"):
        token = _parse_bare(fields.text("token").strip(), where).token
        return RegistrationToken(token, url=url, name=name, policy=policy, keep=keep, **more)
    if fields.has("token"):
        raise TokenError(f'cannot use {where}: its JSON holds both "token" and "jit_config"')
    parsed = parse_jit_config(fields.text("jit_config"), where)
    if parsed is None:
        raise fields.error("jit_config", "is no just-in-time configuration")
    fixed = {**more, "name": name not in (None, parsed.name)}
    if beside := next((each for each in fixed if fixed[each]), None):
        raise fields.error(beside, "contradicts its just-in-time configuration, which has one")
    return replace(parsed, url=url, policy=policy, keep=keep)


# ---- arguments of config.sh -------------------------------------------------------------------


def _parse_arguments(value: str, where: str) -> RegistrationToken:
    """Parse `--url … --token … --labels …`, as terraform-aws-github-runner writes them.

    Values may be shell-quoted or not: labels are if they need it, a runner group never is, and may
    be two words or hold a quotation mark.
    """
    given = _split_arguments(value)
    if given is None:
        raise TokenError(f"cannot use {where}: its arguments are quoted wrongly")
    if not (given.get("token") or find_jit_config(given)):
        raise TokenError(f"cannot use {where}: its arguments hold no --token")
    given |= dict.fromkeys(SWITCHES & given.keys(), "true")
    return _build(read_fields(given, OF_PROGRAM, where), where)


def _split_arguments(text: str) -> dict[str, str] | None:
    """Return the flags and their values; None if a quotation mark is not closed.

    A value is everything up to the next flag. What is quoted is never taken for a flag.
    """
    given: dict[str, str] = {}
    flag, at = "", 0
    while at < len(text):
        if (found := FLAG.match(text, at)) is not None:
            flag, at = found["flag"].lower().replace("-", "_"), found.end()
            given[flag] = ""
            if flag in FIELDS["group"]:
                given[flag], at = _read_group(text, at)
            continue
        if (word := WORD.match(text, at)) is None:
            return None
        given[flag] = f"{given[flag]} {''.join(shlex.split(word[1]))}".strip()
        at = word.end()
    return given


def _read_group(text: str, at: int) -> tuple[str, int]:
    """Return the value up to the next flag, and where it ends; quotes around all of it are cut."""
    following = NEXT_FLAG.search(text, at)
    end = following.start() if following else len(text)
    raw = text[at:end].strip()
    quoted = len(raw) > 1 and raw[0] in "'\"" and WORD.fullmatch(raw) is not None
    return (shlex.split(raw)[0] if quoted else raw), end


# ---- just in time -----------------------------------------------------------------------------


def parse_jit_config(value: str, where: str) -> RegistrationToken | None:
    """Parse a just-in-time configuration: base64 of JSON {file name: base64 of its content}.

    Returns None if the value is something else. Raises TokenError if it is a broken one. The keys
    in its `.runner` file are PascalCase, with string values.
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
    if not set(files) >= JIT_FILES or not all(map(_is_runner_file, files.items())):
        raise TokenError(f"cannot use {where}: its just-in-time configuration is not complete")
    return RegistrationToken(jit=files, runner_id=runner_id, name=settings.get("agentname"))


def _is_runner_file(file: tuple[str, bytes]) -> bool:
    """Whether the runner itself would write such a file into its folder."""
    name, content = file
    return bool(JIT_FILE.fullmatch(name)) and len(content) <= LONGEST_FILE
