"""The cleanup steps run side by side, once, within the budget, none fatal to another."""

import asyncio

import pytest
from structlog.testing import capture_logs

from sidecar.shutdown import stop as stop_module
from sidecar.shutdown.cleanup import CleanupStack, CleanupStep, run_cleanup
from sidecar.shutdown.stop import Stop
from tests.support.loops import on_both, run


class Actions:
    """Actions of cleanup steps; they note what they did."""

    def __init__(self):
        self.done = []
        self.fails = 0

    async def succeed(self):
        """Succeed."""
        self.done.append("succeeded")

    async def fail(self):
        """Fail, `fails` times."""
        self.fails -= 1
        if self.fails >= 0:
            self.done.append("failed")
            raise OSError("no route")
        self.done.append("succeeded")

    async def fail_without_text(self):
        """Fail with an error that has no text."""
        raise KeyError

    async def hang(self):
        """Never end; note that it was cancelled."""
        try:
            await asyncio.Event().wait()
        finally:
            self.done.append("cancelled")

    async def hang_on(self):
        """Never end, not even when cancelled; only the loop's own end stops it."""
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()


@on_both
def test_every_step_runs_when_the_block_ends(loop):
    """Also one that was registered late, and also when the block fails."""
    actions = Actions()

    async def life():
        cleanup_stack.register_step("first", actions.succeed)
        async with run_cleanup(cleanup_stack, Stop(10)):
            cleanup_stack.register_step("second", actions.succeed)
            raise ValueError("of the life")

    cleanup_stack = CleanupStack()
    with pytest.raises(ValueError, match="of the life"):
        run(loop, life())
    assert cleanup_stack.not_done == {}
    assert all(cleanup_step.done for cleanup_step in cleanup_stack.steps)
    assert actions.done == ["succeeded", "succeeded"]


def test_without_a_step_there_is_nothing_to_do():
    """A life that acquired nothing ends at once; the budget's clock has started."""

    async def life():
        stop = Stop(10)
        async with run_cleanup(CleanupStack(), stop):
            pass
        assert stop.left_until(10) < 10

    run("asyncio", life())


@on_both
def test_steps_run_side_by_side(loop):
    """Two steps that wait for each other both end."""

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
def test_a_failing_step_does_not_stop_the_others(loop):
    """Each failed step is one error line with its reason; nothing is raised."""
    actions = Actions()
    actions.fails = 9

    async def life():
        cleanup_stack = CleanupStack()
        async with run_cleanup(cleanup_stack, Stop(10)):
            cleanup_stack.register_step("failing", actions.fail)
            cleanup_stack.register_step("textless", actions.fail_without_text)
            cleanup_stack.register_step("fine", actions.succeed)
        return cleanup_stack.not_done

    with capture_logs() as logs:
        left = run(loop, life())
    assert left == {"failing": "no route", "textless": "KeyError()"}
    assert "succeeded" in actions.done
    assert logs == [
        {"event": "cleanup.failed", "log_level": "error", "undo": "failing", "reason": "no route"},
        {
            "event": "cleanup.failed",
            "log_level": "error",
            "undo": "textless",
            "reason": "KeyError()",
        },
    ]


@on_both
def test_a_hanging_step_is_cancelled_at_the_end_of_the_budget(loop):
    """The reason names the setting, also for a step that ignores being cancelled."""
    actions = Actions()

    async def life():
        cleanup_stack = CleanupStack()
        stop = Stop(0.1)
        async with run_cleanup(cleanup_stack, stop):
            cleanup_stack.register_step("hanging", actions.hang)
            cleanup_stack.register_step("stubborn", actions.hang_on)
            cleanup_stack.register_step("fine", actions.succeed)
        return cleanup_stack.not_done

    left = run(loop, life())
    reason = "the stop budget is used up (SIDECAR_STOP_TIMEOUT)"
    assert left == {"hanging": reason, "stubborn": reason}
    assert actions.done == ["succeeded", "cancelled"]


@on_both
@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_after_a_third_signal_each_step_has_a_short_time(loop, monkeypatch, when):
    """Ctrl-C pressed three times waits no whole stop budget; what was not done is named."""
    monkeypatch.setattr(stop_module, "HURRIED_STEP", 0.1)
    actions = Actions()

    async def life():
        cleanup_stack = CleanupStack()
        stop = Stop(3600)

        def press():
            for _ in range(3):
                stop.request("SIGINT")

        async def hang_on_and_press():
            press()
            await actions.hang()

        async with run_cleanup(cleanup_stack, stop):
            cleanup_stack.register_step("fine", actions.succeed)
            if when == "before":
                press()
                cleanup_stack.register_step("hanging", actions.hang)
            else:
                cleanup_stack.register_step("hanging", hang_on_and_press)
        return cleanup_stack.not_done

    with capture_logs() as logs:
        left = run(loop, asyncio.wait_for(life(), 60))
    assert left == {"hanging": "not done 2 s after a third signal"}
    assert [(event["event"], event["undo"]) for event in logs] == [("cleanup.failed", "hanging")]
    assert actions.done == ["succeeded", "cancelled"]


@on_both
def test_a_second_signal_leaves_the_steps_their_time(loop, monkeypatch):
    """It ends the job, and not the cleanup."""
    monkeypatch.setattr(stop_module, "HURRIED_STEP", 0.0)

    async def life():
        cleanup_stack = CleanupStack()
        stop = Stop(3600)
        ready = asyncio.Event()

        async def wait():
            stop.request("SIGINT")
            stop.request("SIGINT")
            asyncio.get_running_loop().call_later(0.05, ready.set)
            await ready.wait()

        async with run_cleanup(cleanup_stack, stop):
            cleanup_stack.register_step("slow", wait)
        return cleanup_stack.not_done

    assert run(loop, life()) == {}


def test_every_step_is_begun_even_without_any_budget_left():
    """Each gets a short time."""
    actions = Actions()

    async def life():
        cleanup_stack = CleanupStack()
        async with run_cleanup(cleanup_stack, Stop(0)):
            cleanup_stack.register_step("hanging", actions.hang)
        return cleanup_stack.not_done

    assert list(run("asyncio", life())) == ["hanging"]
    assert actions.done == ["cancelled"]


@on_both
def test_a_step_begun_early_is_done_once(loop):
    """A step that succeeded during the life does not run again."""
    actions = Actions()

    async def life():
        cleanup_stack = CleanupStack()
        async with run_cleanup(cleanup_stack, Stop(10)):
            cleanup_step = cleanup_stack.register_step("early", actions.succeed)
            first = cleanup_step.begin()
            assert cleanup_step.begin() is first
            await first
            assert cleanup_step.begin() is first

    run(loop, life())
    assert actions.done == ["succeeded"]


@on_both
def test_a_step_that_failed_early_is_tried_again(loop):
    """A deregistration that was refused while a job ran succeeds after it, without an error."""
    actions = Actions()
    actions.fails = 1

    async def life():
        cleanup_stack = CleanupStack()
        async with run_cleanup(cleanup_stack, Stop(10)):
            cleanup_step = cleanup_stack.register_step("again", actions.fail)
            await cleanup_step.begin()
            assert (cleanup_step.done, cleanup_step.error) == (False, "no route")
            assert cleanup_stack.not_done == {"again": "no route"}
        assert (cleanup_step.done, cleanup_step.error) == (True, None)

    run(loop, life())
    assert actions.done == ["failed", "succeeded"]


def test_a_step_that_was_never_begun_is_not_done():
    """A step counts from the moment it is registered."""

    async def life():
        cleanup_stack = CleanupStack()
        cleanup_step = cleanup_stack.register_step("later", Actions().succeed)
        await cleanup_step.cancel("nothing is under way")
        assert cleanup_stack.not_done == {"later": "not begun"}

    run("asyncio", life())


def test_a_step_that_is_cancelled_without_a_reason_says_so():
    """For a task that something else cancelled."""

    async def life():
        cleanup_step = CleanupStep("silent", Actions().hang)
        task = cleanup_step.begin()
        await asyncio.sleep(0)
        task.cancel()
        await task
        assert cleanup_step.error == "cancelled"

    run("asyncio", life())


@on_both
def test_a_step_keeps_its_result(loop):
    """What the action returns is how it was done, where there is more than one way."""

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
        assert (first.result, second.result) == ("api", "done")
        assert (first.state, second.state) == ("done", "done")

    run(loop, life())


@on_both
def test_a_cancelled_step_tells_why_it_last_tried_again(loop):
    """The used-up budget is only half of the reason; another step's retries are no part of it."""
    actions = Actions()

    async def note_retry():
        cleanup_stack.note_retry("no route to SSM")
        await actions.hang()

    async def life():
        cleanup_stack.note_retry("outside of any step")
        async with run_cleanup(cleanup_stack, Stop(0.2)):
            cleanup_stack.register_step("trying", note_retry)
            cleanup_stack.register_step("silent", actions.hang)
        assert cleanup_stack.steps[0].state == "failed"
        return cleanup_stack.not_done

    cleanup_stack = CleanupStack()
    reason = "the stop budget is used up (SIDECAR_STOP_TIMEOUT)"
    assert run(loop, life()) == {
        "trying": f"{reason}; its last try: no route to SSM",
        "silent": reason,
    }
