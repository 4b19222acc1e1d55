"""The bench measures, judges and writes each figure; how fast anything is, is not tested here."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

if sys.platform == "win32":
    pytest.skip("the bench reads /proc and spawns by POSIX", allow_module_level=True)

from bench import __main__ as bench
from bench import (
    burst,
    child,
    figure,
    health,
    idle,
    job_role,
    relay,
    report,
    stage,
    startup,
    stops,
    tries,
)
from local import leftovers

ROOT = Path(__file__).parent.parent.parent
FLOOR = ROOT / "bench" / "floor.py"


@pytest.fixture(scope="module")
def opened():
    """Return the stage that all figures share."""
    with stage.open_stage() as built:
        yield built


def make_figure(key: str, value: float) -> figure.Figure:
    """Return a figure as the parts make it."""
    return figure.Figure(key, value, f"{value}", "1 (floor)", {f"{key}_part": value / 3})


def test_floor_reads_one_parameter_and_starts_one_program(opened):
    """The floor does the work that it is the floor of, and ends with the program's exit code."""
    script = opened.folder / "seven"
    script.write_text('#!/bin/sh\necho "got $1"; exit 7\n')
    script.chmod(0o755)
    parameter = opened.token()
    env = opened.environment(parameter, opened.folder)
    argv = (sys.executable, str(FLOOR), parameter, str(script), "it")
    with stage.life(env, argv) as floor:
        code, _, _ = floor.ended()
    assert (code, floor.said) == (7, ["got it\n"])


def test_floor_needs_the_parameter(opened):
    """A floor that cannot read the parameter fails: it must not look fast."""
    env = opened.environment("/bench/none", opened.folder)
    argv = (sys.executable, str(FLOOR), "/bench/none", "/bin/true")
    with stage.life(env, argv) as floor:
        code, _, _ = floor.ended()
    assert code != 0
    assert "ParameterNotFound" in "".join(floor.said)


LATE = {"prometheus_client", "pyjwt"}
"""Libraries that only an agent with metrics, or as a GitHub App, imports."""


def test_floor_imports_what_the_agent_depends_on():
    """A library that the agent needs is imported by its floor, too."""
    text = (ROOT / "pyproject.toml").read_text().partition("\ndependencies = [")[2].partition("]")
    needed = {name.replace("-", "_") for name in re.findall(r'"([a-z-]+)', text[0])}
    imported = set(re.findall(r"^(?:import|from) (\w+)", FLOOR.read_text(), re.MULTILINE))
    assert needed - LATE <= imported


def test_startup_measures_agent_floor_and_shell(opened):
    """Agent, floor and, where it can run, the shell script all start configure."""
    found = {one.key: one for one in startup.measure(opened, runs=1)}
    shell = set() if startup.shell_missing() else {"startup_vs_shell"}
    assert found.keys() == {"startup_vs_floor"} | shell
    assert all(one.value > 0 and one.beside for one in found.values())
    assert found["startup_vs_floor"].parts.keys() == {"startup_ms", "startup_floor_ms"}


def test_a_missing_aws_cli_is_named_and_leaves_no_figure(monkeypatch):
    """Without the AWS CLI there is no figure that compares the agent with it."""
    monkeypatch.setattr(startup, "AWS", "/nonexistent/aws")
    assert "/nonexistent/aws" in startup.shell_missing()
    assert [one.key for one in startup.figures({"agent": 2.0, "floor": 1.0})] == [
        "startup_vs_floor"
    ]


def test_the_idle_stop_is_measured(opened):
    """An idle life that is stopped ends with 0, and the stop takes some time."""
    (found,) = idle.measure(opened, runs=1)
    assert found.key == "idle_stop_ms"
    assert found.value > 0


def test_stops_are_measured_in_every_phase(opened):
    """While all services hang, a life is stopped in each phase, and the slowest stop counts."""
    (found,) = stops.measure(opened, stops=len(stops.PHASES), budget=2.0)
    assert found.parts.keys() == {f"stop_{phase}_s" for phase in stops.PHASES}
    assert found.value == max(found.parts.values()) / 2.0


def test_the_wait_for_a_role_is_measured_beside_sts_s_call_alone(opened):
    """The hook holds that call, and what a hook without rules takes."""
    found = {one.key: one for one in job_role.measure(opened, runs=1)}
    assert found.keys() == {"job_role_ms", "job_role_vs_floor"}
    parts = found["job_role_ms"].parts
    assert parts.keys() == {"job_role_call_ms", "job_role_without_ms"}
    assert min(found["job_role_ms"].value, parts["job_role_call_ms"]) >= 50
    assert found["job_role_vs_floor"].value > 0
    with pytest.raises(RuntimeError, match="the hook ended with"):
        job_role.time_hook(opened.folder)


WHOLE = """
import json
from bench import stage, whole
with stage.open_stage() as built:
    found = {one.key: [one.value, one.parts] for one in whole.measure(built, runs=1, window=0.5)}
print(json.dumps(found))
"""


def test_memory_and_cpu_of_a_whole_life_are_measured():
    """A life whose job used the relay gives its peak memory, and the CPU time of waiting.

    The bench runs below a shell here. A test run is larger than the agent, and the kernel counts
    its size for each program that it starts itself.
    """
    done = subprocess.run(
        ["sh", "-c", '"$0" -c "$1"; exit $?', sys.executable, WHOLE],
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.keys() == {"rss_vs_floor", "idle_cpu_ms_per_min"}
    assert found["rss_vs_floor"][1]["rss_mib"] > 10
    assert found["idle_cpu_ms_per_min"][0] >= 0


def test_the_health_check_is_measured(opened):
    """The check succeeds, and its CPU time is compared with that of an empty Python program."""
    (found,) = health.measure(opened, runs=1)
    assert found.key == "health_cpu_ms"
    assert found.value > 0


def test_the_relay_is_compared_with_nginx(opened):
    """Both serve the same, are asked in turns, and every answer is a good one."""
    found = {one.key: one for one in relay.measure(opened, turns=1)}
    assert found.keys() == (set() if relay.missing() else set(relay.KEYS))
    assert all(one.value > 0 and "nginx" in one.beside for one in found.values())


def test_a_missing_server_is_named_and_leaves_no_figure(opened, monkeypatch):
    """Without nginx or wrk there is no figure."""
    monkeypatch.setattr(relay, "TOOLS", ("sh", "no-such-tool"))
    assert relay.missing() == "no-such-tool"
    assert list(relay.measure(opened)) == []


SAID = """\
  1 threads and 32 connections
  Latency Distribution
     50%  186.00us
     99%    1.83ms
  131020 requests in 1.00s, 171.07MB read
Requests/sec: 130377.92
"""


def test_the_output_of_wrk_is_parsed():
    """Rate and 99th percentile are read in any unit; a run with a bad answer is refused."""
    assert relay.read(SAID) == (130377.92, 1830.0)
    assert relay.read(SAID.replace("1.83ms", "926.00us")).p99 == 926.0
    for trouble in (
        SAID + "Non-2xx or 3xx responses: 4\n",
        SAID + "Socket errors: connect 1, read 0\n",
        "unable to connect\n",
    ):
        with pytest.raises(RuntimeError, match="not every request was answered"):
            relay.read(trouble)


def test_a_second_of_a_machine_that_stood_still_is_measured_again():
    """A server that fails, fails each time: that is told."""
    outputs = iter([SAID + "Socket errors: timeout 32\n", SAID.replace("130377.92", "0.00"), SAID])
    assert tries.repeat(lambda: relay.read(next(outputs))).rate == 130377.92
    with pytest.raises(tries.UnansweredError):
        tries.repeat(lambda: relay.read("unable to connect\n"))


def test_each_turn_is_a_ratio_of_its_own():
    """A slow moment of the machine slows both halves of its turn."""
    pairs = [
        (relay.Reading(8.0, 3.0), relay.Reading(10.0, 3.0)),
        (relay.Reading(80.0, 1.0), relay.Reading(100.0, 1.0)),
        (relay.Reading(9.0, 4.0), relay.Reading(100.0, 2.0)),
    ]
    rate, tail = relay.figures(pairs)
    assert (rate.key, rate.value, rate.met) == ("relay_vs_nginx", 0.8, True)
    assert (tail.key, tail.value, tail.met) == ("relay_p99_vs_nginx", 1.0, True)


def test_a_burst_is_answered_by_one_call_upstream(opened):
    """Every client gets credentials, though none were fetched when they asked."""
    found = {one.key: one for one in burst.measure(opened, runs=1, size=50)}
    assert found.keys() == {"relay_burst_p99_ms", "relay_burst_upstream_calls"}
    assert found["relay_burst_p99_ms"].value > 0
    assert found["relay_burst_upstream_calls"].value == 1


def test_a_speed_has_a_least_value():
    """A figure with a least value is missed below it, and met at it and above."""
    assert not make_figure("relay_vs_nginx", 0.74).met
    assert make_figure("relay_vs_nginx", 0.75).met
    assert make_figure("relay_vs_nginx", 7).met
    assert not figure.LIMITS.keys() & figure.LEAST.keys()


def test_peak_below_the_bench_itself_is_refused():
    """The kernel counts the bench's own peak for its child: such a reading is an error."""
    with stage.life(stage.base_environment(), ("/bin/true",)) as small:
        _, usage, _ = small.ended()
    with pytest.raises(RuntimeError, match="cannot read a peak below"):
        child.peak_mib(usage)


def test_a_child_that_ends_too_soon_is_shown_with_its_output():
    """The error holds what the child printed before it ended."""
    argv = ("/bin/sh", "-c", "echo why")
    with stage.life(stage.base_environment(), argv) as soon, pytest.raises(RuntimeError, match="w"):
        soon.until("never said")


def test_table_marks_what_is_missed():
    """The table shows what is over its limit, and what was not measured."""
    figures = [make_figure("idle_stop_ms", 149), make_figure("startup_vs_floor", 1.26)]
    console = Console(file=io.StringIO(), width=120)
    console.print(report.table(figures, {"startup_vs_shell": "skipped: needs jq"}))
    lines = console.file.getvalue().splitlines()
    rows = {key: line for line in lines for key in figure.LIMITS if f" {key} " in line}
    assert " met " in rows["idle_stop_ms"]
    assert "MISSED" in rows["startup_vs_floor"]
    assert "needs jq" in rows["startup_vs_shell"]


def test_results_are_numbers_by_key(tmp_path):
    """latest.json is one object of numbers; a whole run replaces it, a partial one adds to it."""
    path = tmp_path / "results" / "latest.json"
    report.write(path, [make_figure("idle_stop_ms", 90.0)], keep=False)
    report.write(path, [make_figure("rss_vs_floor", 1.03)], keep=True)
    found = json.loads(path.read_text())
    assert found["idle_stop_ms"] == 90.0
    assert found["rss_vs_floor"] == 1.03
    report.write(path, [make_figure("rss_vs_floor", 1.04)], keep=False)
    assert "idle_stop_ms" not in json.loads(path.read_text())


@pytest.mark.parametrize(("strict", "value", "code"), [([], 9, 0), (["--strict"], 9, 1)])
def test_a_miss_fails_only_with_strict(monkeypatch, tmp_path, strict, value, code):
    """A busy machine does not fail `make bench`; with --strict a miss fails."""
    monkeypatch.setattr(
        bench, "PARTS", {"health": lambda _: iter([make_figure("rss_vs_floor", value)])}
    )
    results = tmp_path / "latest.json"
    assert bench.main([*strict, f"--results={results}"]) == code
    assert json.loads(results.read_text())["rss_vs_floor"] == value


def test_what_cannot_be_measured_fails(monkeypatch, tmp_path, capsys):
    """A figure that cannot be measured makes the run fail."""

    def broken(_stage):
        raise RuntimeError("no job ran")

    monkeypatch.setattr(bench, "PARTS", {"whole": broken})
    assert bench.main([f"--results={tmp_path / 'latest.json'}"]) == 1
    assert "no job ran" in capsys.readouterr().out


def test_latest_results_and_the_document_know_every_figure():
    """The committed figures, and the page that explains them, are complete."""
    latest = json.loads((ROOT / "bench" / "results" / "latest.json").read_text())
    page = (ROOT / "docs" / "performance.md").read_text()
    assert latest.keys() >= figure.LIMITS.keys() | figure.LEAST.keys()
    assert all(isinstance(value, int | float) for value in latest.values())
    for key, limit in figure.LIMITS.items():
        assert re.search(rf"`{key}` .*\| ≤ {limit:g} \|", page), key
    for key, limit in figure.LEAST.items():
        assert re.search(rf"`{key}` .*\| ≥ {limit:g} \|", page), key


def test_the_bench_kills_what_a_killed_life_left(opened):
    """No program that was started from the stage's folder is left."""
    script = opened.folder / "left"
    script.write_text("#!/bin/sh\necho ready\nread -r _\n")
    script.chmod(0o755)
    argv = [str(script)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as left:
        assert left.stdout.readline() == "ready\n"
        assert leftovers.kill(script) == 1
        assert left.wait(timeout=10) == -9
