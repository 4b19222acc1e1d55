"""Tell which role a job and its containers got, and by which rule of SIDECAR_ROLES; or why none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.explain import causes
from launcher.explain.entries import Entry, Mark, Source, clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from launcher.explain.case import Event

ASSIGNED, DENIED, DELAYED = "role.assigned", "role.denied", "role.delayed"
CONTAINER, LEFT_OUT = "container.role_chosen", "role.tags_left_out"
FETCHED, REFUSED, STOPPED = "relay.credentials_fetched", "relay.refused", "job.refused"
IN_VAIN = ("no role for the job", "no credentials yet")
"""The reasons of the relay's refusals after which a job has no use of a role."""
REQUIRED = "its role is required"
"""How the reason begins for which the agent itself fails a job."""
JOB = "job"
"""The rule's word for the role of the container's job."""


def tell(event: Event, events: Sequence[Event], own: str) -> Entry | None:
    """Tell an event about roles; None for every other one.

    `events` are all of the agent's. A job that has no role fails for it where the agent says so,
    or where the job asked for credentials in vain: many jobs need none.
    """
    mark = Mark.NOTE
    match event.name:
        case "role.assigned":
            text, mark = f"the job has the role {_say_role(event)}", Mark.DONE
        case "role.denied":
            text, mark = f"the job has no role: {_fact(event, 'reason')}", _judge(event, events)
        case "role.delayed":
            text = f"the job has no credentials yet of {_say_role(event)}: {_fact(event, 'reason')}"
            mark = _judge(event, events)
        case "relay.credentials_fetched" if _find(events, DELAYED) is not None:
            text, mark = f"credentials of {_fact(event, 'role')} are there", Mark.DONE
        case "role.tags_left_out":
            text = f"STS does not take these facts as tags: {_list(event.facts.get('tags'))}"
        case "container.role_chosen":
            text = _tell_container(event)
        case "job.refused" if _fact(event, "reason").startswith(REQUIRED):
            text, mark = f"the agent fails the job: {_fact(event, 'reason')}", Mark.FAILED
        case _:
            return None
    text = clean(text)
    advice = causes.explain(text) if mark is Mark.FAILED else ""
    return Entry(Source.AGENT, text, event.at, mark, advice, task=own)


def _judge(event: Event, events: Sequence[Event]) -> Mark:
    """Say whether a job without a role has missed it."""
    later = events[events.index(event) + 1 :]
    stopped = _find(later, STOPPED)
    if stopped is not None and _fact(stopped, "reason").startswith(REQUIRED):
        return Mark.FAILED
    asked = (each for each in later if each.name == REFUSED)
    return Mark.FAILED if any(_fact(each, "reason") in IN_VAIN for each in asked) else Mark.NOTE


def _tell_container(event: Event) -> str:
    image, service = event.facts.get("image") or "?", event.facts.get("service")
    which = f"a container of {image}" + (f" (service {service})" if service else "")
    rule, role = event.facts.get("rule"), _fact(event, "role")
    if rule is None:
        return f"{which} has its job's role: no rule for containers is for it"
    if event.facts.get("refused"):
        return f"{which} has no role, by the rule {rule}: {_fact(event, 'reason')}"
    whose = "its job's role" if role == JOB else f"the role {role}"
    return f"{which} has {whose}, by the rule {rule}"


def _say_role(event: Event) -> str:
    """Name a role, the rule that gives it, and what proves the job."""
    return f"{_fact(event, 'role')}, by the rule {_fact(event, 'rule')} ({_fact(event, 'proof')})"


def _find(events: Sequence[Event], name: str) -> Event | None:
    return next((each for each in events if each.name == name), None)


def _fact(event: Event, key: str) -> str:
    return str(event.facts.get(key) or "?")


def _list(values: object) -> str:
    return ", ".join(str(each) for each in values) if isinstance(values, list) else "?"
