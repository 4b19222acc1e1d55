"""The bench itself: that each figure is measured, judged and written, not how fast anything is."""

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
from bench import burst, child, figure, health, idle, relay, report, stage, startup, stops

ROOT = Path(__file__).parent.parent.parent
FLOOR = ROOT / "bench" / "floor.py"


@pytest.fixture(scope="module")
def standing():
    """Give the stage that all figures share."""
    with stage.standing() as built:
        yield built


def judged(key: str, value: float) -> figure.Figure:
    """Make a figure as the parts do."""
    return figure.Figure(key, value, f"{value}", "1 (floor)", {f"{key}_part": value / 3})


def test_floor_reads_one_parameter_and_starts_one_program(standing):
    """The floor does the work that it is the floor of, and ends with the program's exit code."""
    script = standing.folder / "seven"
    script.write_text('#!/bin/sh\necho "got $1"; exit 7\n')
    script.chmod(0o755)
    parameter = standing.token()
    env = standing.environment(parameter, standing.folder)
    argv = (sys.executable, str(FLOOR), parameter, str(script), "it")
    with stage.life(env, argv) as floor:
        code, _, _ = floor.ended()
    assert (code, floor.said) == (7, ["got it\n"])


def test_floor_needs_the_parameter(standing):
    """A floor that could not read anything fails, rather than look fast."""
    env = standing.environment("/bench/none", standing.folder)
    argv = (sys.executable, str(FLOOR), "/bench/none", "/bin/true")
    with stage.life(env, argv) as floor:
        code, _, _ = floor.ended()
    assert code != 0
    assert "ParameterNotFound" in "".join(floor.said)


LATE = {"prometheus_client", "pyjwt"}
"""Imported by a life that is scraped, or is a GitHub App, and by no other."""


def test_floor_imports_what_the_agent_depends_on():
    """A library that the agent comes to need is needed by its floor, too."""
    text = (ROOT / "pyproject.toml").read_text().partition("\ndependencies = [")[2].partition("]")
    needed = {name.replace("-", "_") for name in re.findall(r'"([a-z-]+)', text[0])}
    imported = set(re.findall(r"^(?:import|from) (\w+)", FLOOR.read_text(), re.MULTILINE))
    assert needed - LATE <= imported


def test_startup_measures_every_way_beside_the_agent(standing):
    """Agent, floor and, where it can run, the shell all come to configure."""
    found = {one.key: one for one in startup.measure(standing, runs=1)}
    shell = set() if startup.shell_missing() else {"startup_vs_shell"}
    assert found.keys() == {"startup_vs_floor"} | shell
    assert all(one.value > 0 and one.beside for one in found.values())
    assert found["startup_vs_floor"].parts.keys() == {"startup_ms", "startup_floor_ms"}


def test_a_missing_peer_is_told_and_leaves_no_figure(monkeypatch):
    """Without the AWS CLI there is no figure that pretends to be measured beside it."""
    monkeypatch.setattr(startup, "AWS", "/nonexistent/aws")
    assert "/nonexistent/aws" in startup.shell_missing()
    assert [one.key for one in startup.figures({"agent": 2.0, "floor": 1.0})] == [
        "startup_vs_floor"
    ]


def test_idle_stop_is_a_clean_one(standing):
    """An idle life that is stopped ends with 0, and the stop took some time."""
    (found,) = idle.measure(standing, runs=1)
    assert found.key == "idle_stop_ms"
    assert found.value > 0


def test_stops_cover_every_phase(standing):
    """With everything hanging a life can be stopped in each phase, and the worst counts."""
    (found,) = stops.measure(standing, stops=len(stops.PHASES), budget=2.0)
    assert found.parts.keys() == {f"stop_{phase}_s" for phase in stops.PHASES}
    assert found.value == max(found.parts.values()) / 2.0


WHOLE = """
import json
from bench import stage, whole
with stage.standing() as built:
    found = {one.key: [one.value, one.parts] for one in whole.measure(built, runs=1, window=0.5)}
print(json.dumps(found))
"""


def test_whole_life_is_read_for_memory_and_cpu():
    """A life whose job used the relay tells its peak and what waiting took.

    From a process as small as the bench: a test run is larger than the agent, and the kernel
    counts that towards whatever it starts, but not towards what a shell in between starts.
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


def test_health_check_is_read(standing):
    """The check finds the agent well and takes CPU beside a bare Python's."""
    (found,) = health.measure(standing, runs=1)
    assert found.key == "health_cpu_ms"
    assert found.value > 0


def test_the_relay_is_asked_beside_nginx(standing):
    """Both serve the same, are asked by turns, and every answer is a good one."""
    found = {one.key: one for one in relay.measure(standing, turns=1)}
    assert found.keys() == (set() if relay.missing() else set(relay.KEYS))
    assert all(one.value > 0 and "nginx" in one.beside for one in found.values())


def test_a_missing_server_is_told_and_leaves_no_figure(standing, monkeypatch):
    """Without nginx or wrk nothing pretends to be measured."""
    monkeypatch.setattr(relay, "TOOLS", ("sh", "no-such-tool"))
    assert relay.missing() == "no-such-tool"
    assert list(relay.measure(standing)) == []


SAID = """\
  1 threads and 32 connections
  Latency Distribution
     50%  186.00us
     99%    1.83ms
  131020 requests in 1.00s, 171.07MB read
Requests/sec: 130377.92
"""


def test_what_wrk_says_is_read():
    """Rate and tail, whatever their units; a run with a bad answer is no reading."""
    assert relay.read(SAID) == (130377.92, 1830.0)
    assert relay.read(SAID.replace("1.83ms", "926.00us")).p99 == 926.0
    for trouble in (
        SAID + "Non-2xx or 3xx responses: 4\n",
        SAID + "Socket errors: connect 1, read 0\n",
        "unable to connect\n",
    ):
        with pytest.raises(RuntimeError, match="not every request was answered"):
            relay.read(trouble)


def test_turns_are_ratios_of_their_own():
    """A moment in which the machine is slow weighs on both halves of its turn."""
    pairs = [
        (relay.Reading(8.0, 3.0), relay.Reading(10.0, 3.0)),
        (relay.Reading(80.0, 1.0), relay.Reading(100.0, 1.0)),
        (relay.Reading(9.0, 4.0), relay.Reading(100.0, 2.0)),
    ]
    rate, tail = relay.figures(pairs)
    assert (rate.key, rate.value, rate.met) == ("relay_vs_nginx", 0.8, True)
    assert (tail.key, tail.value, tail.met) == ("relay_p99_vs_nginx", 1.0, True)


def test_a_burst_is_answered_by_one_call_upstream(standing):
    """Everybody gets credentials, though nothing was there when they asked."""
    found = {one.key: one for one in burst.measure(standing, runs=1, size=50)}
    assert found.keys() == {"relay_burst_p99_ms", "relay_burst_upstream_calls"}
    assert found["relay_burst_p99_ms"].value > 0
    assert found["relay_burst_upstream_calls"].value == 1


def test_of_speed_more_is_better():
    """A figure that has a least is missed below it, and met on it and above."""
    assert not judged("relay_vs_nginx", 0.74).met
    assert judged("relay_vs_nginx", 0.75).met
    assert judged("relay_vs_nginx", 7).met
    assert not figure.LIMITS.keys() & figure.LEAST.keys()


def test_peak_below_the_bench_itself_is_refused():
    """The kernel hands the starter's peak on: such a reading is an error, not a figure."""
    with stage.life(stage.base_environment(), ("/bin/true",)) as small:
        _, usage, _ = small.ended()
    with pytest.raises(RuntimeError, match="cannot read a peak below"):
        child.peak_mib(usage)


def test_a_child_that_ends_too_soon_is_told_with_its_words():
    """What a life said before it ended early is in the error."""
    argv = ("/bin/sh", "-c", "echo why")
    with stage.life(stage.base_environment(), argv) as soon, pytest.raises(RuntimeError, match="w"):
        soon.until("never said")


def test_table_marks_what_is_missed():
    """A person sees at a glance what is over its limit, and what was not measured."""
    figures = [judged("idle_stop_ms", 299), judged("startup_vs_floor", 1.26)]
    console = Console(file=io.StringIO(), width=120)
    console.print(report.table(figures, {"startup_vs_shell": "skipped: needs jq"}))
    lines = console.file.getvalue().splitlines()
    told = {key: line for line in lines for key in figure.LIMITS if f" {key} " in line}
    assert " met " in told["idle_stop_ms"]
    assert "MISSED" in told["startup_vs_floor"]
    assert "needs jq" in told["startup_vs_shell"]


def test_results_are_numbers_by_key(tmp_path):
    """latest.json is one object of numbers; a whole run replaces it, a partial one adds to it."""
    path = tmp_path / "results" / "latest.json"
    report.write(path, [judged("idle_stop_ms", 90.0)], keep=False)
    report.write(path, [judged("rss_vs_floor", 1.03)], keep=True)
    found = json.loads(path.read_text())
    assert found["idle_stop_ms"] == 90.0
    assert found["rss_vs_floor"] == 1.03
    report.write(path, [judged("rss_vs_floor", 1.04)], keep=False)
    assert "idle_stop_ms" not in json.loads(path.read_text())


@pytest.mark.parametrize(("strict", "value", "code"), [([], 9, 0), (["--strict"], 9, 1)])
def test_a_miss_fails_only_when_told_to(monkeypatch, tmp_path, strict, value, code):
    """A busy machine does not break `make bench`; --strict makes a miss count."""
    monkeypatch.setattr(bench, "PARTS", {"health": lambda _: iter([judged("rss_vs_floor", value)])})
    results = tmp_path / "latest.json"
    assert bench.main([*strict, f"--results={results}"]) == code
    assert json.loads(results.read_text())["rss_vs_floor"] == value


def test_what_cannot_be_measured_fails(monkeypatch, tmp_path, capsys):
    """A figure that is not there is no success."""

    def broken(_stage):
        raise RuntimeError("no job ran")

    monkeypatch.setattr(bench, "PARTS", {"whole": broken})
    assert bench.main([f"--results={tmp_path / 'latest.json'}"]) == 1
    assert "no job ran" in capsys.readouterr().out


def test_latest_results_and_the_document_know_every_figure():
    """The committed figures and the page that explains them leave none out."""
    latest = json.loads((ROOT / "bench" / "results" / "latest.json").read_text())
    page = (ROOT / "docs" / "performance.md").read_text()
    assert latest.keys() >= figure.LIMITS.keys() | figure.LEAST.keys()
    assert all(isinstance(value, int | float) for value in latest.values())
    for key, limit in figure.LIMITS.items():
        assert re.search(rf"`{key}` .*\| ≤ {limit:g} \|", page), key
    for key, limit in figure.LEAST.items():
        assert re.search(rf"`{key}` .*\| ≥ {limit:g} \|", page), key


def test_bench_ends_what_a_killed_life_left(standing):
    """Nothing that runs out of the stage's folder outlives it."""
    script = standing.folder / "left"
    script.write_text("#!/bin/sh\necho ready\nread -r _\n")
    script.chmod(0o755)
    argv = [str(script)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as left:
        assert left.stdout.readline() == "ready\n"
        assert stage.swept(script) == 1
        assert left.wait(timeout=10) == -9
