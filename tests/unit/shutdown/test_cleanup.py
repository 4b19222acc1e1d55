"""What is owed is given back: side by side, once, within the budget, never fatally."""

import asyncio

import pytest
from structlog.testing import capture_logs

from sidecar.shutdown.cleanup import Debt, Farewell, farewell
from sidecar.shutdown.stop import Stop
from tests.support.loops import on_both, run


class Steps:
    """Undo steps that note what they did."""

    def __init__(self):
        self.said = []
        self.fails = 0

    async def settle(self):
        """Succeed."""
        self.said.append("settled")

    async def fail(self):
        """Fail, `fails` times."""
        self.fails -= 1
        if self.fails >= 0:
            self.said.append("failed")
            raise OSError("no route")
        self.said.append("settled")

    async def fail_without_words(self):
        """Fail with an error that has no text."""
        raise KeyError

    async def hang(self):
        """Never end; note the cut."""
        try:
            await asyncio.Event().wait()
        finally:
            self.said.append("cut")

    async def hang_on(self):
        """Never end, not even when cut; only the loop's own end is heeded."""
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()


@on_both
def test_all_that_is_owed_is_given_back_on_leaving(loop):
    """Also what came to be owed late, and also when the block fails."""
    steps = Steps()

    async def life():
        owed.owe("first", steps.settle)
        async with farewell(owed, Stop(10)):
            owed.owe("second", steps.settle)
            raise ValueError("of the life")

    owed = Farewell()
    with pytest.raises(ValueError, match="of the life"):
        run(loop, life())
    assert owed.left_behind == {}
    assert all(debt.settled for debt in owed.debts)
    assert steps.said == ["settled", "settled"]


def test_nothing_owed_is_nothing_to_do():
    """A life that acquired nothing leaves at once; its clock runs all the same."""

    async def life():
        stop = Stop(10)
        async with farewell(Farewell(), stop):
            pass
        assert stop.left_until(10) < 10

    run("asyncio", life())


@on_both
def test_steps_run_side_by_side(loop):
    """Two steps that need each other both end."""

    async def life():
        one, two = asyncio.Event(), asyncio.Event()

        async def first():
            one.set()
            await two.wait()

        async def second():
            two.set()
            await one.wait()

        owed = Farewell()
        async with farewell(owed, Stop(10)):
            owed.owe("first", first)
            owed.owe("second", second)
        assert owed.left_behind == {}

    run(loop, life())


@on_both
def test_a_failing_step_keeps_no_other_from_running(loop):
    """Each that failed is one error line with its reason; nothing is raised."""
    steps = Steps()
    steps.fails = 9

    async def life():
        owed = Farewell()
        async with farewell(owed, Stop(10)):
            owed.owe("failing", steps.fail)
            owed.owe("speechless", steps.fail_without_words)
            owed.owe("fine", steps.settle)
        return owed.left_behind

    with capture_logs() as logs:
        left = run(loop, life())
    assert left == {"failing": "no route", "speechless": "KeyError()"}
    assert "settled" in steps.said
    assert logs == [
        {"event": "undo.failed", "log_level": "error", "undo": "failing", "reason": "no route"},
        {
            "event": "undo.failed",
            "log_level": "error",
            "undo": "speechless",
            "reason": "KeyError()",
        },
    ]


@on_both
def test_a_hanging_step_is_cut_at_the_end_of_the_budget(loop):
    """The reason names the setting; a step that ignores even that is told as cut, too."""
    steps = Steps()

    async def life():
        owed = Farewell()
        stop = Stop(0.1)
        async with farewell(owed, stop):
            owed.owe("hanging", steps.hang)
            owed.owe("stubborn", steps.hang_on)
            owed.owe("fine", steps.settle)
        return owed.left_behind

    left = run(loop, life())
    reason = "the stop budget is used up (SIDECAR_STOP_TIMEOUT)"
    assert left == {"hanging": reason, "stubborn": reason}
    assert steps.said == ["settled", "cut"]


def test_a_used_up_budget_still_begins_every_step():
    """Even at the very end each step gets its turn, if only a short one."""
    steps = Steps()

    async def life():
        owed = Farewell()
        async with farewell(owed, Stop(0)):
            owed.owe("hanging", steps.hang)
        return owed.left_behind

    assert list(run("asyncio", life())) == ["hanging"]
    assert steps.said == ["cut"]


@on_both
def test_a_step_begun_early_is_done_once(loop):
    """What was given back during the life is not given back again."""
    steps = Steps()

    async def life():
        owed = Farewell()
        async with farewell(owed, Stop(10)):
            debt = owed.owe("early", steps.settle)
            first = debt.begin()
            assert debt.begin() is first
            await first
            assert debt.begin() is first

    run(loop, life())
    assert steps.said == ["settled"]


@on_both
def test_a_step_that_failed_early_is_tried_again(loop):
    """A removal refused while a job ran succeeds after it, and leaves no error behind."""
    steps = Steps()
    steps.fails = 1

    async def life():
        owed = Farewell()
        async with farewell(owed, Stop(10)):
            debt = owed.owe("again", steps.fail)
            await debt.begin()
            assert (debt.settled, debt.error) == (False, "no route")
            assert owed.left_behind == {"again": "no route"}
        assert (debt.settled, debt.error) == (True, None)

    run(loop, life())
    assert steps.said == ["failed", "settled"]


def test_what_was_never_begun_is_left_behind():
    """A debt counts as owed from the moment it is made."""

    async def life():
        owed = Farewell()
        debt = owed.owe("later", Steps().settle)
        await debt.abandon("nothing is under way")
        assert owed.left_behind == {"later": "not begun"}

    run("asyncio", life())


def test_a_step_cut_without_a_word_says_so():
    """Whoever cancels the task itself leaves a reason, too."""

    async def life():
        debt = Debt("mute", Steps().hang)
        task = debt.begin()
        await asyncio.sleep(0)
        task.cancel()
        await task
        assert debt.error == "cut short"

    run("asyncio", life())


@on_both
def test_what_was_undone_tells_how(loop):
    """What a step returns is how it was done, where there is more than one way."""

    async def one_way():
        return "api"

    async def only_way():
        pass

    async def life():
        owed = Farewell()
        async with farewell(owed, Stop(10)):
            first, second = owed.owe("first", one_way), owed.owe("second", only_way)
            assert (first.state, second.state) == ("owed", "owed")
        assert (first.how, second.how) == ("api", "done")
        assert (first.state, second.state) == ("done", "done")

    run(loop, life())


@on_both
def test_a_step_that_is_cut_tells_why_it_was_still_trying(loop):
    """The budget is only half of the reason; another step's trouble is none of it."""
    steps = Steps()

    async def struggle():
        owed.struggle("no route to SSM")
        await steps.hang()

    async def life():
        owed.struggle("of nobody")
        async with farewell(owed, Stop(0.2)):
            owed.owe("trying", struggle)
            owed.owe("silent", steps.hang)
        assert owed.debts[0].state == "failed"
        return owed.left_behind

    owed = Farewell()
    reason = "the stop budget is used up (SIDECAR_STOP_TIMEOUT)"
    assert run(loop, life()) == {
        "trying": f"{reason}; its last try: no route to SSM",
        "silent": reason,
    }
