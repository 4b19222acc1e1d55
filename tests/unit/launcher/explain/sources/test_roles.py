"""Which role a job and its containers got is told; it is the cause where the job missed it."""

import pytest

from launcher.explain.case import Event
from launcher.explain.entries import Mark, Source
from launcher.explain.sources import agent
from tests.unit.launcher.explain.asking import (
    begin,
    event,
    iso,
    make_job,
    opened,
    play,
    stream,
    texts,
)
from tests.unit.launcher.explain.sources.test_agent import make, tell

ROLE = "arn:aws:iam::123456789012:role/deploy"
OF = {"rule": "deploy", "role": ROLE, "proof": "runner"}
NO_RULE = "no rule of SIDECAR_ROLES gives a role to octo/app, ref refs/heads/dev, event push"
DENIED = f"cannot assume {ROLE} for the rule 'deploy': access denied (needs sts:AssumeRole)"
ASKED, EARLY = "no role for the job", "no credentials yet"
IN_VAIN = "somebody asked for credentials in vain"


def test_the_role_of_a_job_is_told_with_its_rule_and_its_proof():
    """Beside who the job is, and what STS did not take."""
    who = {"repository": "octo/app", "ref": "refs/heads/main", "event_name": "push"}
    entries = tell(
        make("role.tags_left_out", "warning", tags=["ref", "actor"], reason="STS"),
        make("role.assigned", job_role_ms=80, **OF),
        make("job.admitted", **who),
        make("relay.credentials_fetched", role=ROLE),
    )
    assert [(entry.text, entry.mark) for entry in entries] == [
        ("STS does not take these facts as tags: ref, actor", Mark.NOTE),
        (f"the job has the role {ROLE}, by the rule deploy (runner)", Mark.DONE),
        ("the job may run: octo/app, refs/heads/main, event push", Mark.NOTE),
    ]


CONTAINERS = [
    ({"rule": None, "role": "job"}, "has its job's role: no rule for containers is for it"),
    ({"rule": "less", "role": "job"}, "has its job's role, by the rule less"),
    ({"rule": "db", "role": ROLE}, f"has the role {ROLE}, by the rule db"),
    (
        {"rule": "x", "role": "none", "refused": True, "reason": "the rule says none"},
        "has no role, by the rule x: the rule says none",
    ),
]


@pytest.mark.parametrize(("facts", "words"), CONTAINERS)
def test_each_container_is_told_with_its_rule_and_its_role(facts, words):
    """By its image, and by compose's service where there is one."""
    entries = tell(
        make("container.role_chosen", image="redis:7", service="cache", **facts),
        make("container.role_chosen", image="redis:7", service=None, **facts),
    )
    assert [(entry.text, entry.mark) for entry in entries] == [
        (f"a container of redis:7 (service cache) {words}", Mark.NOTE),
        (f"a container of redis:7 {words}", Mark.NOTE),
    ]


@pytest.mark.parametrize(
    ("name", "facts", "words"),
    [
        ("role.denied", {"reason": NO_RULE}, f"the job has no role: {NO_RULE}"),
        (
            "role.delayed",
            {"reason": DENIED, **OF},
            f"the job has no credentials yet of {ROLE}, by the rule deploy (runner): {DENIED}",
        ),
    ],
)
def test_a_role_that_is_not_there_is_a_failure_only_where_the_job_missed_it(name, facts, words):
    """It asked in vain, or the agent failed it; what came before does not count."""
    own = make(name, "warning", **facts)
    asked = make("relay.refused", "warning", reason=ASKED if name == "role.denied" else EARLY)
    failed = make("job.refused", "warning", reason=f"its role is required: {facts['reason']}")
    policy = make("job.refused", "warning", reason="the pool's policy: no")
    early = make("relay.refused", "warning", reason="not admitted")
    missed, well = [[asked], [failed]], [[], [policy], [early]]
    for later in missed + well:
        mark = Mark.FAILED if later in missed else Mark.NOTE
        first = tell(own, *later)[0]
        assert (first.text, first.mark) == (words, mark)
        assert bool(first.advice) is (mark is Mark.FAILED)
    assert tell(asked, own)[1].mark is Mark.NOTE


def test_a_role_that_came_late_is_told_as_there():
    """Only then: else the line says what `role.assigned` says."""
    fetched = make("relay.credentials_fetched", role=ROLE)
    assert tell(fetched) == []
    late = tell(make("role.delayed", "warning", reason="STS is down", **OF), fetched)
    assert (late[1].text, late[1].mark) == (f"credentials of {ROLE} are there", Mark.DONE)


def test_a_job_that_the_agent_fails_for_its_role_is_not_the_policy_s():
    """What a pool's policy refuses is told as before."""
    role, pool = tell(
        make("job.refused", "warning", reason=f"its role is required: {NO_RULE}"),
        make("job.refused", "warning", reason="event is push"),
    )
    assert role.text == f"the agent fails the job: its role is required: {NO_RULE}"
    assert pool.text == "the pool's policy refuses the job: event is push"
    assert {role.mark, pool.mark} == {Mark.FAILED}


def test_facts_that_are_missing_or_of_another_kind_are_question_marks():
    """A log may come from another version of the agent, or from a job that wrote to it."""
    names = ("role.assigned", "role.denied", "role.delayed", "role.tags_left_out")
    for name in (*names, "container.role_chosen", "job.refused"):
        for facts in ({}, {"tags": 5, "rule": ["x"], "reason": {"a": 1}, "image": 7}):
            assert tell(Event(name, "info", None, facts))[0].source is Source.AGENT


@pytest.mark.parametrize(
    ("lines", "words", "advice"),
    [
        (
            [("role.denied", {"reason": NO_RULE}), ("relay.refused", {"reason": ASKED})],
            f"the job has no role: {NO_RULE}",
            "let a [[job]] of SIDECAR_ROLES be for such jobs",
        ),
        (
            [("role.delayed", {"reason": DENIED, **OF}), ("relay.refused", {"reason": EARLY})],
            "access denied (needs sts:AssumeRole)",
            "--trust-policy",
        ),
        (
            [
                ("role.delayed", {"reason": DENIED, **OF}),
                ("job.refused", {"reason": f"its role is required: {DENIED}"}),
                ("life.ended", {"exit_code": 25, "meaning": "refused"}),
            ],
            "access denied (needs sts:AssumeRole)",
            "--trust-policy",
        ),
        (
            [("role.denied", {"reason": NO_RULE}), ("job.completed", {})],
            "completed: failure",
            "look into its log",
        ),
    ],
)
def test_a_job_that_failed_for_its_role_has_it_as_the_cause(monkeypatch, lines, words, advice):
    """Before GitHub's word that it failed; a job that never asked failed for something else."""

    async def story():
        async with opened() as (scene, asking):
            launch = await begin(scene, asking)
            await scene.boot()
            await scene.run(1, launch.runner_name)
            asking.hub.jobs[1] = make_job(
                "completed",
                conclusion="failure",
                runner_name=launch.runner_name,
                started_at=iso(6),
                completed_at=iso(9),
            )
            asking.aws.streams[stream(launch.place)] = [
                event(name, 7 + number / 10, "warning", **facts)
                for number, (name, facts) in enumerate([("life.started", {}), *lines])
            ]
            told = await asking.explain(monkeypatch)
            assert words in told.cause.text
            assert advice in told.cause.advice
            assert told.cause.text in texts(told, mark=Mark.FAILED)

    play(story())


def test_a_job_that_succeeded_without_its_role_has_no_cause(monkeypatch):
    """The line stands in its story."""

    async def story():
        async with opened() as (scene, asking):
            launch = await begin(scene, asking)
            await scene.boot()
            await scene.run(1, launch.runner_name)
            asking.hub.jobs[1] = make_job(
                "completed", conclusion="success", runner_name=launch.runner_name
            )
            lines = [event("life.started", 7), event("role.denied", 7, "warning", reason=NO_RULE)]
            asking.aws.streams[stream(launch.place)] = lines
            told = await asking.explain(monkeypatch)
            assert told.cause is None
            assert f"the job has no role: {NO_RULE}" in texts(told, Source.AGENT)

    play(story())


def test_every_event_that_is_told_is_known_to_the_documents():
    """A name that the agent does not have would never come."""
    from docs.events import EVENTS
    from launcher.explain.sources import roles

    names = [roles.ASSIGNED, roles.DENIED, roles.DELAYED, roles.CONTAINER, roles.LEFT_OUT]
    assert {*names, roles.FETCHED, roles.REFUSED, roles.STOPPED, *agent.TEXTS} <= {*EVENTS}
