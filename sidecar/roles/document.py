"""Read the rules from a TOML document: all of them, or one line for every mistake."""

from __future__ import annotations

import json
import re
import tomllib
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sidecar import values
from sidecar.documents.patterns import (
    check_event,
    check_ref,
    check_repository,
    check_stars,
)
from sidecar.documents.tables import Mistakes, Table
from sidecar.roles.containers import JOB, ContainerRule
from sidecar.roles.rules import (
    LONGEST,
    LONGEST_CHAINED,
    NONE,
    SHORTEST,
    TASK,
    USUAL_EVENTS,
    Conditions,
    JobRule,
    Proof,
    Roles,
    Terms,
)
from sidecar.roles.tag_text import LONGEST_KEY, LONGEST_VALUE, OWN_TAGS, is_tag_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

LONGEST_DOCUMENT = 256 * 1024
"""Bytes."""
MOST_RULES = 500
MOST_TAGS = 40
"""STS takes 50; the others say who the job is (`session.py`)."""
SOURCE_IDENTITIES = ("off", "actor", "run_id", "repository_id")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_WORKFLOW = re.compile(r"([A-Za-z0-9_-]{1,100}/[A-Za-z0-9._*-]{1,100}/)?\.github/workflows/[^/@]+")
_ACTOR = re.compile(r"[A-Za-z0-9_*-]{1,100}(\[bot\])?")
_LABEL = re.compile(r"[^=*\s]{1,255}(=[^\n]{0,255})?")


class RolesError(ValueError):
    """The rules have mistakes; `lines` holds one for each."""

    def __init__(self, *lines: str) -> None:
        super().__init__("; ".join(lines))
        self.lines = lines


def parse_roles(text: str) -> Roles:
    """Read a document of rules. Raises RolesError."""
    if (size := len(text.encode("utf-8", "surrogatepass"))) > LONGEST_DOCUMENT:
        raise RolesError(f"has {size} bytes, and {LONGEST_DOCUMENT} is the limit")
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise RolesError(f"is not TOML: {reason}") from None
    mistakes = Mistakes()
    roles = _read(document, mistakes)
    if lines := mistakes.lines():
        raise RolesError(*lines)
    return roles


def _read(document: dict[str, Any], mistakes: Mistakes) -> Roles:
    top = Table(document, mistakes, "")
    jobs = list(_tables(top, "job", mistakes))
    containers = list(_tables(top, "container", mistakes))
    default = Table(_read_default(top), mistakes, "[default]")
    top.finish()
    if not document.keys() & {"job", "default"}:
        mistakes.add("has neither [[job]] nor [default]: no job would get a role")
    if len(jobs) + len(containers) > MOST_RULES:
        mistakes.add(f"has {len(jobs) + len(containers)} rules, and {MOST_RULES} is the limit")
        return Roles()
    terms = _read_terms(default, (NONE, TASK), NONE)
    default.finish()
    roles = Roles(
        tuple(_read_job(table, number) for number, table in enumerate(jobs, 1)),
        tuple(_read_container(table, number) for number, table in enumerate(containers, 1)),
        terms,
    )
    _check_names("job", [rule.name for rule in roles.jobs], jobs)
    _check_names("container", [rule.name for rule in roles.containers], containers)
    _check_containers(roles, containers)
    return roles


def _read_default(top: Table) -> Mapping[str, Any]:
    value = top.taken("default")
    if value is None or isinstance(value, dict):
        return value or {}
    top.report("default", "must be a table: write [default]")
    return {}


def _tables(top: Table, kind: str, mistakes: Mistakes) -> Iterator[Table]:
    value = top.taken(kind)
    if value is None:
        return
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        top.report(kind, f"must be tables: write [[{kind}]]")
        return
    for number, item in enumerate(value, 1):
        name = item.get("name")
        named = isinstance(name, str) and name
        yield Table(item, mistakes, f"{kind} {name[:64]!r}" if named else f"{kind} {number}")


# ---- jobs ---------------------------------------------------------------------------------------


def _read_job(table: Table, number: int) -> JobRule:
    name = table.text("name", f"job-{number}", _check_name)
    if not table.has("role"):
        table.report("role", "is required: the ARN of a role, or none")
    terms = _read_terms(table, (NONE,), NONE)
    protected = table.flag("ref_protected", default=False)
    conditions = Conditions(
        table.one_or_more("repository", check_repository),
        _read_ids(table),
        table.one_or_more("ref", check_ref),
        protected if table.has("ref_protected") else None,
        table.one_or_more("workflow", _check_workflow),
        table.one_or_more("event", check_event) or USUAL_EVENTS,
        table.one_or_more("environment", _check_environment),
        table.one_or_more("actor", _check_actor),
        table.flag("fork", default=False),
    )
    if conditions.environment and terms.proof is not Proof.OIDC:
        table.report("environment", 'needs proof = "oidc": only GitHub\'s token tells it')
    allowed = frozenset(table.one_or_more("container_roles", values.check_role_arn))
    required = table.flag("required", default=False)
    if terms.role == NONE and (required or allowed):
        key = "required" if required else "container_roles"
        table.report(key, 'contradicts role = "none"')
    table.finish()
    return JobRule(name, conditions, terms, allowed, required)


def _read_terms(table: Table, words: Sequence[str], default: str) -> Terms:
    """Read a role and how it is given; `words` may stand in the place of an ARN."""
    role = table.text("role", default, partial(_check_role, words))
    proof = Proof(table.choice("proof", list(Proof), Proof.RUNNER))
    longest = LONGEST if proof is Proof.OIDC else LONGEST_CHAINED
    terms = Terms(
        role,
        _read_policy(table),
        table.seconds("duration", LONGEST_CHAINED, SHORTEST, longest),
        MappingProxyType(table.pairs("tags", _check_tag)),
        proof,
        _read_source_identity(table),
    )
    _check_tags(table, terms)
    _check_words(table, terms, words)
    return terms


def _check_words(table: Table, terms: Terms, words: Sequence[str]) -> None:
    """Report what says how a role is given, where no role is."""
    if terms.role not in words or not table.right("role"):
        return
    for key in ("policy", "duration", "tags", "proof", "source_identity"):
        if table.has(key):
            table.report(key, f'says how a role is assumed, and role is "{terms.role}"')


def _check_tags(table: Table, terms: Terms) -> None:
    if len(terms.tags) > MOST_TAGS:
        table.report("tags", f"must have {MOST_TAGS} at most, and has {len(terms.tags)}")
    if len({key.lower() for key in terms.tags}) < len(terms.tags):
        table.report("tags", "has two keys that differ by case alone, which STS takes for one")
    if terms.proof is Proof.OIDC:
        for key in ("tags", "source_identity"):
            if table.has(key):
                table.report(
                    key, 'contradicts proof = "oidc": GitHub\'s token carries none for a session'
                )


def _read_source_identity(table: Table) -> str | None:
    found = table.choice("source_identity", SOURCE_IDENTITIES, "off")
    return None if found == "off" else found


def _read_ids(table: Table) -> tuple[str, ...]:
    value = table.taken("repository_id")
    items = value if isinstance(value, list) else [] if value is None else [value]
    found = tuple(
        str(item)
        for item in items
        if not isinstance(item, bool) and re.fullmatch(r"\d+", str(item))
    )
    if len(found) < len(items) or value == []:
        table.report("repository_id", "must be the number of a repository, or a list of numbers")
    return found


def _read_policy(table: Table) -> str | None:
    """Read a session policy: JSON as text, or a table."""
    value = table.taken("policy")
    if value is None:
        return None
    if not isinstance(value, str | dict):
        table.report("policy", "must be a policy: JSON as text, or a table")
        return None
    try:
        # What JSON cannot hold, such as a date of TOML's, becomes text that IAM refuses.
        return values.parse_session_policy(
            value if isinstance(value, str) else json.dumps(value, default=str)
        )
    except ValueError as error:
        table.report("policy", str(error))
        return None


# ---- containers ---------------------------------------------------------------------------------


def _read_container(table: Table, number: int) -> ContainerRule:
    name = table.text("name", f"container-{number}", _check_name)
    if not table.has("role"):
        table.report("role", "is required: none, job, or the ARN of a role")
    rule = ContainerRule(
        name,
        table.text("role", NONE, partial(_check_role, (NONE, JOB))),
        table.one_or_more("image", _check_pattern),
        table.one_or_more("label", _check_label),
        table.one_or_more("service", _check_pattern),
        _read_policy(table),
    )
    if not any(map(table.has, ("image", "label", "service"))):
        table.report("image", "is required, or label, or service: which containers it is for")
    if rule.policy is not None and rule.role != JOB and table.right("role"):
        table.report("policy", f'needs role = "{JOB}": it limits the role of the job')
    table.finish()
    return rule


def _check_containers(roles: Roles, tables: Sequence[Table]) -> None:
    """Check the containers' rules against those of the jobs."""
    limited = [rule.name for rule in roles.jobs if rule.terms.policy is not None]
    limited += ["[default]"] if roles.default.policy is not None else []
    allowed = frozenset[str]().union(*(rule.container_roles for rule in roles.jobs))
    for rule, table in zip(roles.containers, tables, strict=True):
        if rule.policy is not None and limited:
            table.report(
                "policy",
                f"contradicts the policy of {limited[0]}: several session policies of one request "
                "allow what any of them allows",
            )
        if rule.role.startswith("arn:") and rule.role not in allowed:
            table.report("role", "is in container_roles of no [[job]], so no job may give it")


# ---- single values ------------------------------------------------------------------------------


def _check_names(kind: str, names: Iterable[str], tables: Sequence[Table]) -> None:
    seen: set[str] = set()
    for name, table in zip(names, tables, strict=True):
        if name in seen:
            table.report("name", f"is used twice among [[{kind}]]: {name}")
        seen.add(name)


def _check_name(text: str) -> None:
    if not _NAME.fullmatch(text) or text == "default":
        message = "must be 1 to 64 letters, digits, '_', '.' or '-', and not default"
        raise ValueError(message)


def _check_role(words: Sequence[str], text: str) -> None:
    if text in words:
        return
    try:
        values.check_role_arn(text)
    except ValueError:
        message = f"must be the ARN of an IAM role, or {' or '.join(words)}"
        raise ValueError(message) from None


def _check_workflow(text: str) -> None:
    if not _WORKFLOW.fullmatch(text) or "**" in text:
        message = (
            "must be the workflow's file, .github/workflows/NAME, or owner/name/ before it; its "
            "name is what its author wrote"
        )
        raise ValueError(message)
    check_stars(text)


def _check_environment(text: str) -> None:
    if not 0 < len(text) <= 255 or not text.isprintable():
        message = "must be the name of an environment"
        raise ValueError(message)
    check_stars(text)


def _check_actor(text: str) -> None:
    if not _ACTOR.fullmatch(text):
        message = "must be the name of a user"
        raise ValueError(message)
    check_stars(text)


def _check_pattern(text: str) -> None:
    if not 0 < len(text) <= 255 or not text.isprintable():
        message = "must be 1 to 255 printable characters"
        raise ValueError(message)
    check_stars(text)


def _check_label(text: str) -> None:
    if not _LABEL.fullmatch(text):
        message = "must be a label, or label=value where the value may hold '*'"
        raise ValueError(message)
    check_stars(text)


def _check_tag(key: str, value: str) -> None:
    """Check one session tag. Raises ValueError."""
    if key.lower() in OWN_TAGS:
        message = "is set by the agent, and says who the job is"
        raise ValueError(message)
    taken = 0 < len(key) <= LONGEST_KEY and is_tag_text(key)
    if not taken or key.lower().startswith("aws:"):
        message = "must be 1 to 128 letters, digits, spaces or _.:/=+-@, and not begin with aws:"
        raise ValueError(message)
    if len(value) > LONGEST_VALUE or not is_tag_text(value):
        message = "must have a value of 256 letters, digits, spaces or _.:/=+-@ at most"
        raise ValueError(message)
