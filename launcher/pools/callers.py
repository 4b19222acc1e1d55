"""Say who may start runners by the API, which ones, and how many: `[[caller]]` and `[[garo]]`.

A caller proves itself by GitHub's OIDC token. `[[garo]]` is for callers that keep the contract of
alphagov's runner orchestration: they sign by a token of GitHub's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from launcher.pools.checks import (
    check_image,
    check_instance_type,
    check_name,
    check_profile,
    check_security_group,
    check_subnet,
)
from sidecar.documents.patterns import (
    check_event,
    check_ref,
    check_repository,
    lower,
    matches_any,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sidecar.documents.tables import Table

MOST_RUNNERS = 10_000
SHORTEST_SESSION, LONGEST_SESSION = 900, 3600
"""Seconds of assumed credentials: a role that is assumed by a role ends after an hour (STS)."""
LARGEST_ID = 2**63
_ACCOUNT = re.compile(r"\d{12}")
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::(\d{12}):role/[\w+=,.@/-]{1,512}")
_EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]{2,1224}")
_TYPE = re.compile(r"[a-z0-9]{1,20}")
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d")


@dataclass(frozen=True, slots=True)
class Account:
    """The account that a caller's tasks are started in, and the role that is assumed for it."""

    number: str
    role: str
    """ARN."""
    external_id: str
    session: int
    """Seconds."""


@dataclass(frozen=True, slots=True)
class Choices:
    """What a start of this caller may name, beside what its pool has."""

    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    """Task roles; of machines instance profiles."""
    images: tuple[str, ...] = ()
    """Of machines, as the next one."""
    instance_types: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller that proves itself by GitHub's OIDC token.

    An empty tuple of events or refs admits all; of repositories and owners one has to fit.
    """

    name: str
    pools: tuple[str, ...]
    repositories: tuple[int, ...]
    """GitHub's numbers: a name may belong to somebody else one day."""
    owners: tuple[int, ...]
    events: tuple[str, ...]
    refs: tuple[str, ...]
    maximum: int
    choices: Choices
    account: Account | None = None

    def covers(self, repository: int, owner: int) -> bool:
        """Whether this table is about the repository."""
        return repository in self.repositories or owner in self.owners

    def refuse(self, event: str, ref: str) -> str | None:
        """Say why a workflow run of its repositories may not call; None where it may."""
        if self.events and event not in self.events:
            return f"the event {event:.50} is none of its events"
        if self.refs and not matches_any(self.refs, ref):
            return f"the ref {ref:.100} is none of its refs"
        return None


@dataclass(frozen=True, slots=True)
class GaroCaller:
    """A caller with GARO's contract, which signs by a token of GitHub's."""

    name: str
    repositories: tuple[str, ...]
    """`owner/name`; the name may hold `*`."""
    account: Account
    types: Mapping[str, str] = field(hash=False)
    """The pool of each `type` that a start may name."""
    maximum: int
    choices: Choices
    region: str | None = None
    """The region that a start may name."""

    def covers(self, repository: str) -> bool:
        """Whether this table is about the repository."""
        return matches_any(lower(self.repositories), repository.lower())


def read_caller(table: Table, pools: frozenset[str]) -> Caller:
    """Read a `[[caller]]`; each mistake is reported, and the rest is read all the same."""
    caller = Caller(
        name=table.required_text("name", check_name),
        pools=table.texts("pools", _one_of(pools)),
        repositories=table.numbers("repositories", 1, LARGEST_ID),
        owners=table.numbers("owners", 1, LARGEST_ID),
        events=table.texts("events", check_event),
        refs=table.texts("refs", check_ref),
        maximum=table.number("maximum", 10, 1, MOST_RUNNERS),
        choices=_read_choices(table),
        account=_read_account(table) if _names_account(table) else None,
    )
    if not caller.pools and table.right("pools"):
        table.report("pools", "is required: the names of the pools that it may start")
    if not caller.repositories and not caller.owners and table.right("repositories", "owners"):
        table.report("repositories", "is required, or owners: GitHub's numbers of them")
    table.finish()
    return caller


def read_garo(table: Table, pools: frozenset[str]) -> GaroCaller:
    """Read a `[[garo]]`; each mistake is reported, and the rest is read all the same."""
    caller = GaroCaller(
        name=table.required_text("name", check_name),
        repositories=table.texts("repositories", check_repository),
        account=_read_account(table),
        types=table.pairs("types", _typed(pools)),
        maximum=table.number("maximum", 10, 1, MOST_RUNNERS),
        choices=_read_choices(table),
        region=table.text("region", "", _check_region) or None,
    )
    for key in ("repositories", "types"):
        if not getattr(caller, key) and table.right(key):
            table.report(key, "is required")
    table.finish()
    return caller


def _read_choices(table: Table) -> Choices:
    return Choices(
        table.texts("subnets", check_subnet),
        table.texts("security_groups", check_security_group),
        table.texts("roles", _check_task_role),
        table.texts("images", check_image),
        table.texts("instance_types", check_instance_type),
    )


def _names_account(table: Table) -> bool:
    keys = ("account", "role", "external_id", "session")
    return any(table.has(key) for key in keys)


def _read_account(table: Table) -> Account:
    number = table.required_text("account", _check_account)
    role = table.required_text("role", _check_role)
    external_id = table.required_text("external_id", _check_external_id)
    seconds = table.seconds("session", LONGEST_SESSION, SHORTEST_SESSION, LONGEST_SESSION)
    found = _ROLE.fullmatch(role)
    if found and number and found[1] != number:
        table.report("role", f"is a role of the account {found[1]}, and account is {number}")
    return Account(number, role, external_id, seconds)


def _one_of(pools: frozenset[str]) -> Callable[[str], None]:
    def check(text: str) -> None:
        if text not in pools:
            message = "is none of the pools"
            raise ValueError(message)

    return check


def _typed(pools: frozenset[str]) -> Callable[[str, str], None]:
    """Make the check of a type of GARO's, which becomes a label and a part of a name."""
    check = _one_of(pools)

    def check_type(kind: str, pool: str) -> None:
        if not _TYPE.fullmatch(kind):
            message = "must be 1 to 20 lower-case letters and digits"
            raise ValueError(message)
        check(pool)

    return check_type


def _check_account(text: str) -> None:
    if not _ACCOUNT.fullmatch(text):
        message = "must be the 12 digits of an account, as text"
        raise ValueError(message)


def _check_role(text: str) -> None:
    if not _ROLE.fullmatch(text):
        message = "must be the ARN of a role"
        raise ValueError(message)


def _check_task_role(text: str) -> None:
    if not _ROLE.fullmatch(text):
        check_profile(text)


def _check_external_id(text: str) -> None:
    if not _EXTERNAL_ID.fullmatch(text):
        message = "must be 2 to 1224 letters, digits and _+=,.@:/-"
        raise ValueError(message)


def _check_region(text: str) -> None:
    if not _REGION.fullmatch(text):
        message = "must be a region, such as eu-west-2"
        raise ValueError(message)
