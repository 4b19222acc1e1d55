"""One short run of the runner's program: configure or remove."""

import asyncio

import pytest
from structlog.testing import capture_logs

from sidecar.errors import RunnerError
from sidecar.runner.program import KEPT_LINES, Ran, Verb, ran, text_arguments
from tests.support.loops import on_both, run

SECRET = "AABBCCDD-SECRET"


@on_both
def test_the_token_goes_through_the_environment_alone(loop, root, program):
    """Neither argument, nor repr, nor the environment that was handed in."""
    program('echo "out $LANG"; echo err >&2; exit 3\n')
    env = {"LANG": "C"}
    verb = Verb("configure", ("--unattended",), SECRET)

    async def life():
        result = await ran(root, verb, env, Ran(), timeout=20)
        assert (result.code, sorted(result.lines)) == (3, ["err", "out C"])

    with capture_logs() as events:
        run(loop, life())
    assert program.runs() == [f"configure --unattended token={SECRET}"]
    assert env == {"LANG": "C"}
    assert SECRET not in repr(verb)
    assert SECRET not in repr(events)


def test_a_verb_may_need_no_token(root, program):
    """Then there is none in its environment."""
    program("exit 0\n")
    assert run("asyncio", ran(root, Verb("warmup", ()), {}, Ran(), timeout=20)).code == 0
    assert program.runs() == ["warmup token="]


def test_only_the_last_lines_are_kept(root, program):
    """A program that talks without end costs no memory."""
    program("i=0; while [ $i -lt 200 ]; do i=$((i+1)); echo line $i; done\n")
    result = run("asyncio", ran(root, Verb("x", ()), {}, Ran(), timeout=20))
    assert len(result.lines) == KEPT_LINES
    assert result.lines[-1] == "line 200"


@on_both
def test_one_that_does_not_end_is_killed(loop, root, program):
    """After its time there is no exit code, only what it said; and nothing of it is left."""
    program("trap '' INT TERM; echo begun; sleep 60 & wait\n")
    result = run(loop, ran(root, Verb("x", ()), {}, Ran(), timeout=0.3))
    assert (result.code, result.lines) == (None, ["begun"])


@on_both
@pytest.mark.parametrize("grace", [0.0, 20.0])
def test_one_that_is_cut_short_may_finish(loop, root, program, grace):
    """Within the grace it comes to its own end, without any it is killed; the cut is a cut."""
    program("echo begun; read line <go; echo $line; exit 4\n")
    result = Ran()

    async def finished(ended):
        await asyncio.wait([ended], timeout=grace)

    async def life():
        import os

        os.mkfifo(root.path / "go")
        held = os.open(root.path / "go", os.O_RDWR)
        patient = finished if grace else None
        task = asyncio.create_task(
            ran(root, Verb("x", ()), {}, result, timeout=20, finished=patient)
        )
        while "begun" not in result.lines:
            await asyncio.wait([task], timeout=0.01)
        task.cancel()
        await asyncio.sleep(0)
        if grace:
            os.write(held, b"finished\n")
        await asyncio.wait([task])
        os.close(held)
        assert task.cancelled()

    run(loop, life())
    expected = (4, ["begun", "finished"]) if grace else (None, ["begun"])
    assert (result.code, result.lines) == expected


def test_a_program_that_is_missing_is_an_error(root):
    """It names the program."""
    with pytest.raises(RunnerError, match=r"^cannot start .*Runner\.Listener: No such file"):
        run("asyncio", ran(root, Verb("x", ()), {}, Ran(), timeout=20))


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (
            ["# Authentication", "Http response code: NotFound", "-----"],
            "Http response code: NotFound",
        ),
        (
            ["Connecting", "An error occurred: no route", "√ Something"],
            "An error occurred: no route",
        ),
        (["-----", "| banner |", "# title"], "exit code 1"),
        ([], "exit code 1"),
    ],
)
def test_the_reason_is_the_last_telling_line(lines, reason):
    """Banners and successes say nothing of a failure."""
    assert Ran(1, lines).reason == reason


def test_lines_are_searched_for_any_of_several_parts():
    """One is enough."""
    assert Ran(1, ["A 404 came"]).says("401", "404")
    assert not Ran(1, ["A 404 came"]).says("401")


def test_arguments_that_are_not_given_are_left_out():
    """Neither None nor empty text reaches the program."""
    assert text_arguments(url="u", labels="", runnergroup=None) == ("--url", "u")
