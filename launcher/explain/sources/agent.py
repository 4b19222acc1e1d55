"""Tell what the agent's own events say, and those of the launcher that are about the job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from launcher import identity
from launcher.explain import causes
from launcher.explain.entries import Entry, Mark, Source, clean, read_moment, seconds
from launcher.explain.sources import roles

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from launcher.explain.case import Case, Event, Home

TEXTS: dict[str, tuple[str, Mark]] = {
    "life.started": ("the agent begins", Mark.NOTE),
    "token.awaited": ("it waits for its token", Mark.WAITS),
    "token.read": ("it has read its token", Mark.NOTE),
    "token.minted": ("GitHub gave it a registration token", Mark.NOTE),
    "token.deleted": ("it has deleted the token's parameter", Mark.NOTE),
    "relay.mode_chosen": ("credentials of jobs: {mode}", Mark.NOTE),
    "relay.disabled": ("no credentials are relayed to jobs: {reason}", Mark.NOTE),
    "docker.proxy_started": ("jobs reach docker through the proxy", Mark.NOTE),
    "docker.proxy_disabled": ("jobs reach docker without the proxy: {reason}", Mark.NOTE),
    "runner.name_taken": ("the name {name} is taken: it takes one with a suffix", Mark.NOTE),
    "runner.registered": ("the runner {name} is registered", Mark.DONE),
    "runner.started": ("the runner listens for a job", Mark.DONE),
    "job.announced": ("the runner got the job {job}", Mark.DONE),
    "job.started": ("the job's started hook ran", Mark.NOTE),
    "job.admitted": ("the job may run: {repository}, {ref}, event {event_name}", Mark.NOTE),
    "job.refused": ("the pool's policy refuses the job: {reason}", Mark.FAILED),
    "relay.refused": ("somebody asked for credentials in vain: {reason}", Mark.NOTE),
    "job.reported": ("the runner reports the job's end: {result}", Mark.NOTE),
    "job.completed": ("the job's completed hook ran", Mark.NOTE),
    "stop.requested": ("a stop was requested: {reason}", Mark.NOTE),
    "stop.job_awaited": ("a stop waits for the job, for {seconds} s", Mark.WAITS),
    "watch.triggered": ("the agent ends its life: {reason}", Mark.NOTE),
    "runner.interrupted": ("the runner was interrupted", Mark.NOTE),
    "runner.connection_changed": ("connection to GitHub: {reason}", Mark.NOTE),
    "runner.ended": ("the listener ended: {outcome}", Mark.NOTE),
    "runner.deregistered": ("the runner is removed from GitHub", Mark.NOTE),
    "memory.exhausted": ("the kernel killed processes: the memory was full", Mark.FAILED),
    "cleanup.failed": ("the cleanup step {undo} failed: {reason}", Mark.NOTE),
    "life.failed": ("the agent failed: {reason}", Mark.FAILED),
    "life.crashed": ("the agent crashed, by a mistake of its own", Mark.FAILED),
}
"""The events that are told, in words; others only where they are errors or warnings."""
MEMORY = "give the task, or its jobs, more memory"
UNREACHED = 60.0
"""Seconds after which an agent has read a token that is there, unless it does not reach SSM."""
SETTING = "SIDECAR_"
"""How the agent's lines about wrong settings begin; it has no log yet then."""
OF_LAUNCHER = ("launch", "job", "task")
"""Facts by which an event of the launcher's log says what it is about."""


def split(case: Case, events: Iterable[Event]) -> tuple[list[Event], list[Event]]:
    """Split the events of a file: the agent's, and those of the launcher about this job."""
    agents, launchers = [], []
    for event in events:
        named = [key for key in OF_LAUNCHER if isinstance(event.facts.get(key), str | int)]
        part = event.name.partition(".")[0]
        if part in ("launch", "demand", "task", "message", "machine") or "launch" in event.facts:
            if _is_about(case, event.facts, named):
                launchers.append(event)
        else:
            agents.append(event)
    return agents, launchers


def _is_about(case: Case, facts: Mapping[str, Any], named: list[str]) -> bool:
    launch = case.launch.id if case.launch is not None else None
    job = case.job.id if case.job is not None else None
    homes = {identity.task_id(home.place) for home in case.homes}
    for key in named:
        value = facts[key]
        if key == "launch" and value == launch:
            return True
        if key == "job" and value == job:
            return True
        if key == "task" and identity.task_id(str(value)) in homes:
            return True
    return False


def tell(case: Case, home: Home) -> Iterator[Entry]:
    """Yield what the agent's events say."""
    own = identity.task_id(home.place)
    if not any(event.name == "life.started" for event in home.events):
        yield from _tell_lines(case, home, own)
    codes = [event.facts.get("exit_code") for event in home.events if event.name == "life.ended"]
    code = next((each for each in codes if isinstance(each, int)), None)
    for event in home.events:
        told = roles.tell(event, home.events, own) or _tell_event(event, own, code)
        if told is not None:
            yield told
    if (entry := _tell_unreached(case, home, own)) is not None:
        yield entry


def _tell_unreached(case: Case, home: Home, own: str) -> Entry | None:
    """Tell that an agent still waits for a token that is there: it does not get to SSM."""
    last = home.events[-1] if home.events else None
    if last is None or last.name != "token.awaited" or last.at is None or home.token is None:
        return None
    written = read_moment(home.token.get("LastModifiedDate")) or last.at
    waited = case.now - max(last.at, written)
    if waited < UNREACHED:
        return None
    text = f"it has waited {seconds(waited)} for its token, which is there: it does not reach SSM"
    advice = (
        "look at the subnet's and security group's way to SSM, and at a proxy of the container "
        "that never answers (HTTPS_PROXY); `runner-sidecar doctor` in the task tells which"
    )
    return Entry(Source.AGENT, text, case.now, Mark.FAILED, advice, task=own)


def _tell_lines(case: Case, home: Home, own: str) -> Iterator[Entry]:
    """Tell what an agent printed that did not get as far as its log."""
    for line in home.lines:
        if line.lstrip().startswith(SETTING):
            advice = "correct the setting in the task definition or the image"
            yield Entry(
                Source.AGENT, clean(line), None, Mark.FAILED, advice, after=case.now, task=own
            )


def _tell_event(event: Event, own: str, code: int | None) -> Entry | None:
    """Tell one event; `code` is what the agent ended with, if it has ended."""
    if event.name == "life.ended":
        return _tell_end(event, own)
    known = TEXTS.get(event.name)
    if known is None:
        if event.level not in ("error", "critical", "warning"):
            return None
        mark = Mark.NOTE if event.level == "warning" else Mark.FAILED
        text = f"{event.name}: {_reason(event)}" if _reason(event) else event.name
        return Entry(Source.AGENT, text, event.at, mark, causes.explain(text), task=own)
    words, mark = known
    text = clean(words.format_map(_Facts(event.facts)))
    advice = ""
    if mark is Mark.FAILED:
        advice = MEMORY if event.name == "memory.exhausted" else causes.explain(text)
        advice = advice or causes.explain_exit(code)
    return Entry(Source.AGENT, text, event.at, mark, advice, task=own)


def _tell_end(event: Event, own: str) -> Entry:
    code = event.facts.get("exit_code")
    meaning = clean(event.facts.get("meaning") or "", 200)
    text = f"the agent ended: exit code {code}" + (f" ({meaning})" if meaning else "")
    if isinstance(code, int) and not causes.is_failure(code):
        return Entry(Source.AGENT, text, event.at, Mark.DONE, task=own)
    advice = causes.explain_exit(code) if isinstance(code, int) else ""
    return Entry(Source.AGENT, text, event.at, Mark.FAILED, advice, task=own)


def _reason(event: Event) -> str:
    return clean(event.facts.get("reason") or event.facts.get("error") or "")


class _Facts(dict[str, Any]):
    """The facts of an event; one that is not there is a question mark."""

    def __missing__(self, key: str) -> str:
        return "?"


def tell_launcher(case: Case) -> Iterator[Entry]:
    """Yield what the launcher's own log says about the job."""
    for event in case.launcher_events:
        reason = _reason(event)
        text = f"{event.name}: {reason}" if reason else event.name
        failed = event.level in ("error", "critical")
        mark = Mark.FAILED if failed else Mark.NOTE
        advice = causes.explain(reason) if failed else ""
        yield Entry(Source.LAUNCHER, text, event.at, mark, advice)
