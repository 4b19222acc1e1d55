"""A short run of the runner's program: configure or remove."""

import asyncio
import errno
import os

import pytest
from structlog.testing import capture_logs

from sidecar import host
from sidecar.errors import RunnerError
from sidecar.runner import homes
from sidecar.runner.program import (
    KEPT_LINES,
    ProgramResult,
    Subcommand,
    build_arguments,
    run_program,
)
from tests.support.loops import on_both, run

STATUS = "Response status code does not indicate success: 403 (Forbidden)."
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
def test_one_that_does_not_end_is_killed(loop, root, program, cut_when):
    """After the timeout there is no exit code, only its output; no process of it remains."""
    program("trap '' INT TERM; echo begun; sleep 60 & wait\n")
    result = ProgramResult()
    with cut_when(lambda: result.lines):
        run(loop, run_program(root, Subcommand("x", ()), {}, result, timeout=20))
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


def test_its_environment_leads_to_no_home_of_a_job(root, program):
    """Neither the environment's variables nor those of `.env` do, which win over it."""
    names = (*homes.NAMES,)
    shown = "".join(f'echo "{name}=${name}"; ' for name in names)
    program(f'cat .env; {shown} ls -A "$HOME"; stat -c %a "$HOME"\n')
    (root.path / ".env").write_text("A=1\n" + "".join(f"{name}=/job\n" for name in names))
    env = dict.fromkeys(names, "/job") | {"PATH": os.environ["PATH"]}

    async def life():
        return await run_program(root, Subcommand("x", ()), env, ProgramResult(), timeout=20)

    result = run("asyncio", life())
    assert "/job" not in "".join(result.lines)
    assert result.lines[0] == "A=1"
    assert "localappdata=" in result.lines
    assert result.lines[-3:] == [".config", "tmp", "700"]
    assert "HOME=/job" in (root.path / ".env").read_text()
    assert list(root.state.iterdir()) == []


def test_without_a_home_it_is_not_run(root, program, monkeypatch):
    """It would have to use its user's home."""
    program("exit 0\n")

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(host, "make_fresh_folder", fail)
    with pytest.raises(RunnerError, match=r"^cannot make a home for the runner's x in .*No space"):
        run("asyncio", run_program(root, Subcommand("x", ()), {}, ProgramResult(), timeout=20))
    assert program.runs() == []


def test_a_home_that_cannot_be_removed_is_logged(root, program, monkeypatch):
    """The call has its result all the same."""
    program("exit 3\n")

    def fail(_):
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(host, "remove_entry", fail)
    with capture_logs() as events:
        result = run(
            "asyncio", run_program(root, Subcommand("x", ()), {}, ProgramResult(), timeout=20)
        )
    assert result.code == 3
    assert ("runner.home_left", "Permission denied") in [
        (event["event"], event.get("reason")) for event in events
    ]


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
        (
            ["Http response code: Forbidden", '{"message": "No\\n access"}', STATUS],
            "No access (403 (Forbidden))",
        ),
        (['{"message": "Gone"}', "Failed: Removing runner", STATUS], "Gone (403 (Forbidden))"),
        (["{", '  "message": "Pretty",', '  "x": 1', "}", STATUS], "Pretty (403 (Forbidden))"),
        (['{"message": "old"}', '{"message": 7}', "{broken", STATUS], "old (403 (Forbidden))"),
        (['{"message": "' + "x" * 400 + '"}', STATUS], "x" * 300 + " (403 (Forbidden))"),
        (['{"message": "other"}', "Name or service not known"], "Name or service not known"),
        (["no JSON", STATUS], STATUS),
    ],
)
def test_the_reason_is_github_s_own_words_or_the_last_line(lines, reason):
    """Banners and successes do not explain a failure; after a refusal, GitHub's answer does."""
    assert ProgramResult(1, lines).reason == reason


def test_lines_are_searched_for_any_of_several_parts():
    """One match is enough."""
    assert ProgramResult(1, ["A 404 came"]).contains("401", "404")
    assert not ProgramResult(1, ["A 404 came"]).contains("401")


def test_arguments_that_are_not_given_are_left_out():
    """The program gets neither None nor empty text."""
    assert build_arguments(url="u", labels="", runnergroup=None) == ("--url", "u")
