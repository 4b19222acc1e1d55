"""The agent's events are told in words, the launcher's only where they are about the job."""

from launcher.explain.case import Case, Event, Home
from launcher.explain.entries import Mark
from launcher.explain.sources import agent
from launcher.explain.target import Kind, Target
from launcher.record.launch import Launch

TASK = "0123456789abcdef" * 2


def make_case(**more):
    """Make a case of one task."""
    case = Case(Target(Kind.TASK, TASK), 100.0, **more)
    case.homes.append(Home(TASK))
    return case


def tell(*events):
    """Return the entries that events become."""
    case = make_case()
    case.homes[0].events = list(events)
    return list(agent.tell(case, case.homes[0]))


def make(name, level="info", /, **facts):
    """Make an event."""
    return Event(name, level, 50.0, facts)


def test_known_events_have_words_and_others_only_where_something_is_wrong():
    """A fact that is missing is a question mark; a warning is no failure."""
    entries = tell(
        make("life.started"),
        make("phase.entered", phase="x"),
        make("runner.registered", name="r"),
        make("stop.requested"),
        make("retry.scheduled", "warning", reason="slow"),
        make("cleanup.failed", "error", undo="token", reason="AccessDenied"),
        make("task.protection_failed", "error", reason="AccessDenied"),
    )
    assert [(entry.text, entry.mark) for entry in entries] == [
        ("the agent begins", Mark.NOTE),
        ("the runner r is registered", Mark.DONE),
        ("a stop was requested: ?", Mark.NOTE),
        ("retry.scheduled: slow", Mark.NOTE),
        ("the cleanup step token failed: AccessDenied", Mark.NOTE),
        ("task.protection_failed: AccessDenied", Mark.FAILED),
    ]
    assert {entry.task for entry in entries} == {TASK}


def test_its_end_is_a_failure_where_its_exit_code_is_one():
    """A code of the agent's has its meaning in the event; a strange one is a failure."""
    texts = [
        (entry.text, entry.mark)
        for code in (0, 13, None)
        for entry in tell(make("life.ended", exit_code=code, meaning="so"))
    ]
    assert texts == [
        ("the agent ended: exit code 0 (so)", Mark.DONE),
        ("the agent ended: exit code 13 (so)", Mark.FAILED),
        ("the agent ended: exit code None (so)", Mark.FAILED),
    ]


def test_the_launcher_s_events_are_told_apart_from_the_agent_s():
    """Those about other jobs are left out."""
    case = make_case(launch=Launch("l1", "p", "", 1.0))
    ours = [
        make("launch.admitted", launch="l1"),
        make("task.placed", task=f"arn:aws:ecs:x:1:task/runners/{TASK}"),
    ]
    others = [make("launch.given_up", "error", launch="l2", reason="x"), make("message.failed")]
    own = make("life.started", task=TASK)
    agents, case.launcher_events = agent.split(case, [*ours, *others, own])
    assert agents == [own]
    assert case.launcher_events == ours
    assert [entry.text for entry in agent.tell_launcher(case)] == ["launch.admitted", "task.placed"]
