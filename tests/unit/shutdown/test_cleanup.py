"""What is owed is given back: side by side, once, within the budget, never fatally."""

import asyncio

import pytest
from structlog.testing import capture_logs

from sidecar.shutdown.cleanup import CleanupStack, CleanupStep, run_cleanup
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
        cleanup_stack.register_step("first", steps.settle)
        async with run_cleanup(cleanup_stack, Stop(10)):
            cleanup_stack.register_step("second", steps.settle)
            raise ValueError("of the life")

    cleanup_stack = CleanupStack()
    with pytest.raises(ValueError, match="of the life"):
        run(loop, life())
    assert cleanup_stack.not_done == {}
    assert all(cleanup_step.done for cleanup_step in cleanup_stack.steps)
    assert steps.said == ["settled", "settled"]


def test_nothing_owed_is_nothing_to_do():
    """A life that acquired nothing leaves at once; its clock runs all the same."""

    async def life():
        stop = Stop(10)
        async with run_cleanup(CleanupStack(), stop):
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

        cleanup_stack = CleanupStack()
        async with run_cleanup(cleanup_stack, Stop(10)):
            cleanup_stack.register_step("first", first)
            cleanup_stack.register_step("second", second)
        assert cleanup_stack.not_done == {}

    run(loop, life())


@on_both
def test_a_failing_step_keeps_no_other_from_running(loop):
    """Each that failed is one error line with its reason; nothing is raised."""
    steps = Steps()
    steps.fails = 9

    async def life():
        cleanup_stack = CleanupStack()
        async with run_cleanup(cleanup_stack, Stop(10)):
            cleanup_stack.register_step("failing", steps.fail)
            cleanup_stack.register_step("speechless", steps.fail_without_words)
            cleanup_stack.register_step("fine", steps.settle)
        return cleanup_stack.not_done

    with capture_logs() as logs:
        left = run(loop, life())
    assert left == {"failing": "no route", "speechless": "KeyError()"}
    assert "settled" in steps.said
    assert logs == [
        {"event": "cleanup.failed", "log_level": "error", "undo": "failing", "reason": "no route"},
        {
            "event": "cleanup.failed",
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
        cleanup_stack = CleanupStack()
        stop = Stop(0.1)
        async with run_cleanup(cleanup_stack, stop):
            cleanup_stack.register_step("hanging", steps.hang)
            cleanup_stack.register_step("stubborn", steps.hang_on)
            cleanup_stack.register_step("fine", steps.settle)
        return cleanup_stack.not_done

    left = run(loop, life())
    reason = "the stop budget is used up (SIDECAR_STOP_TIMEOUT)"
    assert left == {"hanging": reason, "stubborn": reason}
    assert steps.said == ["settled", "cut"]


def test_a_used_up_budget_still_begins_every_step():
    """Even at the very end each step gets its turn, if only a short one."""
    steps = Steps()

    async def life():
        cleanup_stack = CleanupStack()
        async with run_cleanup(cleanup_stack, Stop(0)):
            cleanup_stack.register_step("hanging", steps.hang)
        return cleanup_stack.not_done

    assert list(run("asyncio", life())) == ["hanging"]
    assert steps.said == ["cut"]


@on_both
def test_a_step_begun_early_is_done_once(loop):
    """What was given back during the life is not given back again."""
    steps = Steps()

    async def life():
        cleanup_stack = CleanupStack()
        async with run_cleanup(cleanup_stack, Stop(10)):
            cleanup_step = cleanup_stack.register_step("early", steps.settle)
            first = cleanup_step.begin()
            assert cleanup_step.begin() is first
            await first
            assert cleanup_step.begin() is first

    run(loop, life())
    assert steps.said == ["settled"]


@on_both
def test_a_step_that_failed_early_is_tried_again(loop):
    """A removal refused while a job ran succeeds after it, and leaves no error behind."""
    steps = Steps()
    steps.fails = 1

    async def life():
        cleanup_stack = CleanupStack()
        async with run_cleanup(cleanup_stack, Stop(10)):
            cleanup_step = cleanup_stack.register_step("again", steps.fail)
            await cleanup_step.begin()
            assert (cleanup_step.done, cleanup_step.error) == (False, "no route")
            assert cleanup_stack.not_done == {"again": "no route"}
        assert (cleanup_step.done, cleanup_step.error) == (True, None)

    run(loop, life())
    assert steps.said == ["failed", "settled"]


def test_what_was_never_begun_is_left_behind():
    """A debt counts as owed from the moment it is made."""

    async def life():
        cleanup_stack = CleanupStack()
        cleanup_step = cleanup_stack.register_step("later", Steps().settle)
        await cleanup_step.cancel("nothing is under way")
        assert cleanup_stack.not_done == {"later": "not begun"}

    run("asyncio", life())


def test_a_step_cut_without_a_word_says_so():
    """Whoever cancels the task itself leaves a reason, too."""

    async def life():
        cleanup_step = CleanupStep("mute", Steps().hang)
        task = cleanup_step.begin()
        await asyncio.sleep(0)
        task.cancel()
        await task
        assert cleanup_step.error == "cut short"

    run("asyncio", life())


@on_both
def test_what_was_undone_tells_how(loop):
    """What a step returns is how it was done, where there is more than one way."""

    async def one_way():
        return "api"

    async def only_way():
        pass

    async def life():
        cleanup_stack = CleanupStack()
        async with run_cleanup(cleanup_stack, Stop(10)):
            first, second = (
                cleanup_stack.register_step("first", one_way),
                cleanup_stack.register_step("second", only_way),
            )
            assert (first.state, second.state) == ("pending", "pending")
        assert (first.how, second.how) == ("api", "done")
        assert (first.state, second.state) == ("done", "done")

    run(loop, life())


@on_both
def test_a_step_that_is_cut_tells_why_it_was_still_trying(loop):
    """The budget is only half of the reason; another step's trouble is none of it."""
    steps = Steps()

    async def note_retry():
        cleanup_stack.note_retry("no route to SSM")
        await steps.hang()

    async def life():
        cleanup_stack.note_retry("of nobody")
        async with run_cleanup(cleanup_stack, Stop(0.2)):
            cleanup_stack.register_step("trying", note_retry)
            cleanup_stack.register_step("silent", steps.hang)
        assert cleanup_stack.steps[0].state == "failed"
        return cleanup_stack.not_done

    cleanup_stack = CleanupStack()
    reason = "the stop budget is used up (SIDECAR_STOP_TIMEOUT)"
    assert run(loop, life()) == {
        "trying": f"{reason}; its last try: no route to SSM",
        "silent": reason,
    }
