"""What is asked of GitHub about a job and its run: rarely, once, and never believed too much."""

import asyncio
from types import SimpleNamespace

import pytest

from launcher import jobs
from launcher.demand.delivery import Demand
from launcher.jobs import Jobs, Unknown
from launcher.record.records import Records
from sidecar import github
from tests.support.loops import run
from tests.unit.launcher.work.scene import START, Client, make_demand


class Api:
    """GitHub's API with one answer."""

    def __init__(self, status=200, body=None, error=None):
        self.url = "https://github.com/octo/app"
        self.left = 1.0
        self.answer = SimpleNamespace(status=status, body=body)
        self.error = error
        self.paths = []

    async def api(self):
        """Return the API."""
        return self

    async def call(self, method, path, *, expects, tries):
        """Answer."""
        assert (method, tries) == ("GET", 1)
        assert 200 in expects
        self.paths.append(path)
        if self.error:
            raise self.error
        return self.answer


@pytest.mark.parametrize(
    ("status", "action"),
    [
        ("queued", "queued"),
        ("requested", "queued"),
        ("pending", "queued"),
        ("waiting", "waiting"),
        ("in_progress", "in_progress"),
        ("completed", "completed"),
    ],
)
def test_a_job_s_state_is_read_as_a_delivery_would_tell_it(status, action):
    """With its runner and its conclusion."""
    body = {"status": status, "conclusion": "success", "runner_id": 5, "runner_name": "r"}
    api = Api(body=body)
    found = run("asyncio", Jobs().look_up(api, make_demand(9)))
    assert isinstance(found, Demand)
    assert (found.action, found.conclusion) == (action, "success")
    assert (found.runner_id, found.runner_name) == (5, "r")
    assert api.paths == ["/repos/octo/app/actions/jobs/9"]


@pytest.mark.parametrize(
    ("api", "may_pass"),
    [
        (Api(status=404), False),
        (Api(error=github.PermissionDenied("no", 403)), False),
        (Api(error=github.TransientError("no answer")), True),
        (Api(error=github.RateLimited("slow down", 429, 60)), True),
        (Api(body=[]), True),
        (Api(body={"status": "strange"}), True),
    ],
)
def test_what_github_does_not_tell_is_unknown(api, may_pass):
    """No answer is ever taken for one: not 404 either, which a missing permission looks like."""
    found = run("asyncio", Jobs().look_up(api, make_demand()))
    assert isinstance(found, Unknown)
    assert found.may_pass is may_pass


@pytest.mark.parametrize(("left", "asked"), [(0.2, 1), (0.19, 0)])
def test_the_last_fifth_of_the_calls_is_spared(left, asked):
    """Unless the answer is needed."""
    api = Api(body={"status": "queued"})
    api.left = left
    run("asyncio", Jobs().look_up(api, make_demand()))
    assert len(api.paths) == asked
    run("asyncio", Jobs().look_up(api, make_demand(), spare=False))
    assert len(api.paths) == asked + 1


def test_a_run_is_asked_for_once_and_not_kept_for_ever(monkeypatch):
    """The oldest is forgotten."""
    monkeypatch.setattr(jobs, "RUNS_KEPT", 2)
    api = Api(body={"event": "push", "head_repository": {"full_name": "octo/app"}})
    known = Jobs()

    async def ask(*numbers):
        for number in numbers:
            found = await known.find_requester(api, make_demand(run_id=number))
            assert (found.event, found.head_repository) == ("push", "octo/app")

    run("asyncio", ask(1, 1, 2, 1, 2))
    assert len(api.paths) == 2
    run("asyncio", ask(3, 1))
    assert len(api.paths) == 4


def test_jobs_of_a_run_that_come_at_once_ask_once():
    """The others wait for the first one's answer."""
    api = Api(body={"event": "push", "head_repository": {"full_name": "octo/app"}})
    known = Jobs()
    answer = api.call

    async def call(*given, **more):
        await asyncio.sleep(0)
        return await answer(*given, **more)

    async def ask_all():
        asked = (known.find_requester(api, make_demand(number)) for number in range(100))
        return await asyncio.gather(*asked)

    api.call = call
    assert {found.event for found in run("asyncio", ask_all())} == {"push"}
    assert len(api.paths) == 1


def test_a_run_that_one_worker_has_asked_about_is_known_to_all():
    """It stands in the table for a day, as GitHub has told it."""
    clock = [START]
    records = Records(Client(), "launches", "worker", now=lambda: clock[0])
    head = {"full_name": "stranger/app"}
    pulls = [{"number": 5}, {"number": 6}]
    api = Api(body={"event": "pull_request", "head_repository": head, "pull_requests": pulls})

    async def ask(demand):
        return await Jobs(records.runs).find_requester(api, demand)

    first, second = (run("asyncio", ask(make_demand(number))) for number in (1, 2))
    assert first == second
    assert first.head_repository == "stranger/app"
    assert first.refs == ("refs/pull/5/merge", "refs/pull/6/merge")
    assert len(api.paths) == 1
    run("asyncio", ask(make_demand(3, run_id=101)))
    run("asyncio", ask(make_demand(4, repository="octo/lib")))
    assert len(api.paths) == 3
    clock[0] += 86_401
    assert run("asyncio", ask(make_demand(5))) == first
    assert len(api.paths) == 4


def test_a_run_that_github_told_nothing_of_admits_nobody_at_any_worker():
    """What is not known is not known to the others either."""
    records = Records(Client(), "launches", "worker", now=lambda: START)

    async def ask(api):
        return await Jobs(records.runs).find_requester(api, make_demand())

    for body in ("?", {"event": "push"}):
        found = run("asyncio", ask(Api(body=body)))
        assert (found.event, found.head_repository, found.refs) == (None, None, ())


def test_a_run_that_is_no_table_admits_nobody():
    """What is not known is never admitted."""
    found = run("asyncio", Jobs().find_requester(Api(body="?"), make_demand()))
    assert (found.event, found.head_repository, found.refs) == (None, None, ())
