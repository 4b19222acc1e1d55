"""One task where SSM throttles: it pauses, and delays the delete of its token."""

import asyncio
import json
import random
from datetime import UTC, datetime

import pytest
from botocore.exceptions import ClientError

from bench.virtual import run_virtually
from sidecar import tokens
from sidecar.aws import calls
from sidecar.shutdown.cleanup import CleanupStack

NAME, TOKEN = "/actions/tokens/throttled", "AABBCCDD1234567890EXAMPLE"


class ParameterStore(tokens.ParameterStore):
    """An SSM that answers the given error codes, then the token, and notes each call's time."""

    def __init__(self, *refusals):
        super().__init__(None)
        self.calls, self.deleted = [], asyncio.Event()
        self.text = TOKEN
        self._refusals = list(refusals)

    async def connect(self):
        """Return the client, which is the store itself."""
        return self

    async def get_parameter(self, **_):
        """Refuse while there are error codes left, then answer."""
        self.calls.append(("get", asyncio.get_running_loop().time()))
        if self._refusals:
            code = self._refusals.pop(0)
            raise ClientError({"Error": {"Code": code}}, "GetParameter")
        modified = datetime(2026, 1, 1, tzinfo=UTC)
        return {"Parameter": {"Value": self.text, "Version": 1, "LastModifiedDate": modified}}

    async def delete_parameter(self, **_):
        """Delete."""
        self.calls.append(("delete", asyncio.get_running_loop().time()))
        self.deleted.set()
        return {"ResponseMetadata": {"HTTPHeaders": {"x-amzn-requestid": "1"}}}


@pytest.fixture(autouse=True)
def _no_jitter(monkeypatch):
    """Make each pause its longest."""
    monkeypatch.setattr(random, "uniform", lambda _low, high: high)


async def life(store, *, ended=False, for_task=False):
    """Read the token and delete it; return when the read was, and how much later the delete."""
    cleanup_stack = CleanupStack()
    parameter = tokens.claim_parameter(store, NAME, cleanup_stack, for_task=for_task)
    await parameter.wait(600)
    read = asyncio.get_running_loop().time()
    parameter.delete_soon()
    if ended:
        parameter.cleanup_step.begin()
    await store.deleted.wait()
    (deleted,) = [at for what, at in store.calls if what == "delete"]
    return read, deleted - read


def test_a_token_of_the_task_s_own_name_is_read_once():
    """Nothing is written under that name for another task, so there is nothing to compare."""
    store = ParameterStore()
    assert run_virtually(life(store, for_task=True), 1) == (0.0, 0.0)
    assert [what for what, _ in store.calls] == ["get", "delete"]


@pytest.mark.parametrize("for_task", [True, False])
def test_a_token_that_the_launcher_deletes_is_left(for_task):
    """Only where its name is the task's own: no other parameter's text decides about that."""
    store = ParameterStore()
    store.text = json.dumps({"token": TOKEN, "keep": True})

    async def leave():
        parameter = tokens.claim_parameter(store, NAME, CleanupStack(), for_task=for_task)
        assert (await parameter.wait(600)).token == TOKEN
        return await parameter.delete()

    assert run_virtually(leave(), 1) == ("kept" if for_task else "deleted")
    deletes = [what for what, _ in store.calls if what == "delete"]
    assert len(deletes) == (0 if for_task else 1)


def test_without_a_throttle_the_token_is_deleted_at_once():
    """One read comes first, and one more to see that the parameter is still the same."""
    store = ParameterStore()
    assert run_virtually(life(store), 1) == (0.0, 0.0)
    assert [what for what, _ in store.calls] == ["get", "get", "delete"]


def test_a_task_that_was_throttled_delays_its_delete():
    """By half a minute and seven times as long as it waited, and up to a fifth more."""
    read, delay = run_virtually(
        life(ParameterStore("ThrottlingException", "ThrottlingException")), 1
    )
    assert read == 1.0 + 2.0
    assert delay == pytest.approx((30 + 7 * 3.0) * 1.2)


def test_a_delete_is_delayed_by_four_minutes_at_most():
    """And up to a fifth more."""
    _, delay = run_virtually(life(ParameterStore(*["ThrottlingException"] * 20)), 1)
    assert delay == pytest.approx(240 * 1.2)


def test_the_end_of_a_life_does_not_wait_for_a_delayed_delete():
    """The delete is done at once, and only once."""
    store = ParameterStore("ThrottlingException")
    _, delay = run_virtually(life(store, ended=True), 1)
    assert delay == 0.0
    assert [what for what, _ in store.calls].count("delete") == 1


def test_pauses_are_longest_where_another_client_has_to_write():
    """Short for what is missing, longer after a throttle, longest after both."""

    def pauses(*errors):
        pause = calls.backoff(wait_for_missing=True)
        return [pause(error("x")) for error in errors]

    assert pauses(*[calls.NotFound] * 6) == [0.4, 0.8, 1.6, 3.2, 4.0, 4.0]
    assert pauses(*[calls.RateLimited] * 6) == [1, 2, 4, 6, 6, 6]
    assert pauses(calls.NotFound, *[calls.RateLimited] * 6) == [0.4, 1, 2, 4, 8, 16, 30]
    assert pauses(calls.AwsError) == [False]
