"""What a token parameter may hold: a bare registration token, or JSON with more beside it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from sidecar import values
from sidecar.errors import TokenError

BARE = re.compile(r"[A-Za-z0-9_.=/+-]{8,4096}")


@dataclass(frozen=True, slots=True)
class Registration:
    """The right to register one runner, and what its giver says about where and as what."""

    token: str = field(repr=False)
    url: str | None = None
    name: str | None = None
    labels: tuple[str, ...] = ()


def parse(text: str, where: str) -> Registration:
    """Read a parameter's value; raises TokenError that names `where` and never quotes the value."""
    value = text.strip()
    if not value:
        raise TokenError(f"cannot use {where}: its value is empty")
    return _parse_json(value, where) if value.startswith("{") else _bare(value, where)


def _bare(value: str, where: str) -> Registration:
    if not BARE.fullmatch(value) or value.startswith("-"):
        raise TokenError(
            f"cannot use {where}: its value is neither a registration token nor JSON with a token"
        )
    return Registration(value)


def _parse_json(value: str, where: str) -> Registration:
    try:
        content = json.loads(value)
    except (ValueError, RecursionError) as error:
        # The decoder's message tells the place; its exception would carry the value along.
        raise TokenError(f"cannot use {where}: its JSON is malformed: {error.args[0]}") from None
    token = content.get("token")
    if not isinstance(token, str) or not token.strip():
        raise TokenError(f'cannot use {where}: its JSON holds no "token"')
    registration = _bare(token.strip(), where)
    checks = {"url": values.github_url, "name": values.runner_name, "labels": values.labels}
    said = {}
    for key, check in checks.items():
        if content.get(key) in (None, "", []):
            continue
        try:
            said[key] = check(content[key])
        except (ValueError, TypeError, AttributeError) as error:
            raise TokenError(f'cannot use {where}: its "{key}" {error}') from None
    return Registration(registration.token, **said)  # type: ignore[arg-type]
