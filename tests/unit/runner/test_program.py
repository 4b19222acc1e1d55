"""A short run of the runner's program: configure or remove."""

import asyncio

import pytest
from structlog.testing import capture_logs

from sidecar.errors import RunnerError
from sidecar.runner.program import (
    KEPT_LINES,
    ProgramResult,
    Subcommand,
    build_arguments,
    run_program,
)
from tests.support.loops import on_both, run

SECRET = "AABBCCDD-SECRET"


@on_both
def test_the_token_goes_through_the_environment_alone(loop, root, program):
    """It is in no argument, no repr, and not in the environment that was passed in."""
    program('echo "out $LANG"; echo err >&2; exit 3\n')
    env = {"LANG": "C"}
    subcommand = Subcommand("configure", ("--unattended",), SECRET)

    async def life():
        result = await run_program(root, subcommand, env, ProgramResult(), timeout=20)
        assert (result.code, sorted(result.lines)) == (3, ["err", "out C"])

    with capture_logs() as events:
        run(loop, life())
    assert program.runs() == [f"configure --unattended token={SECRET}"]
    assert env == {"LANG": "C"}
    assert SECRET not in repr(subcommand)
    assert SECRET not in repr(events)


def test_a_subcommand_may_need_no_token(root, program):
    """Then its environment has none."""
    program("exit 0\n")
    assert (
        run(
            "asyncio", run_program(root, Subcommand("warmup", ()), {}, ProgramResult(), timeout=20)
        ).code
        == 0
    )
    assert program.runs() == ["warmup token="]


def test_only_the_last_lines_are_kept(root, program):
    """A program that prints without end costs no memory."""
    program("i=0; while [ $i -lt 200 ]; do i=$((i+1)); echo line $i; done\n")
    result = run("asyncio", run_program(root, Subcommand("x", ()), {}, ProgramResult(), timeout=20))
    assert len(result.lines) == KEPT_LINES
    assert result.lines[-1] == "line 200"


@on_both
def test_one_that_does_not_end_is_killed(loop, root, program):
    """After the timeout there is no exit code, only its output; no process of it remains."""
    program("trap '' INT TERM; echo begun; sleep 60 & wait\n")
    result = run(loop, run_program(root, Subcommand("x", ()), {}, ProgramResult(), timeout=0.3))
    assert (result.code, result.lines) == (None, ["begun"])


@on_both
@pytest.mark.parametrize("grace", [0.0, 20.0])
def test_one_that_is_cut_short_may_finish(loop, root, program, grace):
    """It ends by itself within the grace, or is killed without one; the caller is cancelled."""
    program("echo begun; read line <go; echo $line; exit 4\n")
    result = ProgramResult()

    async def wait_at_stop(ended):
        await asyncio.wait([ended], timeout=grace)

    async def life():
        import os

        os.mkfifo(root.path / "go")
        held = os.open(root.path / "go", os.O_RDWR)
        wait = wait_at_stop if grace else None
        task = asyncio.create_task(
            run_program(root, Subcommand("x", ()), {}, result, timeout=20, wait_at_stop=wait)
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
    """The error names the program."""
    with pytest.raises(RunnerError, match=r"^cannot start .*Runner\.Listener: No such file"):
        run("asyncio", run_program(root, Subcommand("x", ()), {}, ProgramResult(), timeout=20))


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
def test_the_reason_is_the_last_line_that_is_no_banner(lines, reason):
    """Banners and successes do not explain a failure."""
    assert ProgramResult(1, lines).reason == reason


def test_lines_are_searched_for_any_of_several_parts():
    """One match is enough."""
    assert ProgramResult(1, ["A 404 came"]).contains("401", "404")
    assert not ProgramResult(1, ["A 404 came"]).contains("401")


def test_arguments_that_are_not_given_are_left_out():
    """The program gets neither None nor empty text."""
    assert build_arguments(url="u", labels="", runnergroup=None) == ("--url", "u")
