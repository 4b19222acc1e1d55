"""The docker proxy's figures: that they are measured, and by what; not how fast anything is."""

from __future__ import annotations

import sys

import pytest

if sys.platform == "win32":
    pytest.skip("the bench reads /proc and spawns by POSIX", allow_module_level=True)

from bench import __main__ as bench
from bench import docker, proxy, stage


@pytest.fixture(scope="module")
def standing():
    """Give the stage that all figures share."""
    with stage.standing() as built:
        yield built


def test_the_proxy_is_streamed_through_and_asked(standing):
    """Streams beside a straight socket, and the memory before and after; nobody need be root."""
    found = {
        one.key: one for one in proxy.measure(standing, turns=1, stream=proxy.MIB, requests=200)
    }
    assert found.keys() == {"proxy_splice_ratio", "proxy_rss_growth_mib"}
    splice, memory = found["proxy_splice_ratio"], found["proxy_rss_growth_mib"]
    assert splice.value > 0
    assert splice.parts["proxy_splice_straight_mib_s"] > 0
    assert memory.parts["proxy_rss_mib"] - memory.parts["proxy_rss_before_mib"] == memory.value


def test_a_stream_that_is_cut_is_no_reading(standing):
    """What did not come whole, in either direction, is an error and not a figure."""
    with stage.program("bench.daemon", str(standing.folder / "cut.sock")) as path:
        assert proxy.streamed(path, 3 * proxy.MIB + 1) > 0
        proxy.swallowed(path, 3 * proxy.MIB + 1)
        proxy.visited(path)
    with pytest.raises(OSError, match=r"refused|No such file"):
        proxy.streamed(path, 1)


@pytest.mark.docker
@pytest.mark.root
def test_a_real_engine_is_measured_both_ways(standing):
    """Containers and an image, through the proxy and without."""
    found = {one.key: one for one in docker.measure(standing, runs=1, turns=1, size=proxy.MIB)}
    assert found.keys() == set(docker.KEYS)
    assert found["docker_save_ratio"].value > 0
    assert found["docker_run_overhead_ms"].parts["docker_run_direct_ms"] > 0


def test_a_missing_engine_is_told_and_leaves_no_figure(standing, monkeypatch, tmp_path, capsys):
    """Where there can be no engine the table says what is missing."""
    monkeypatch.setattr(docker, "TOOLS", ("sh", "no-such-engine"))
    assert "no-such-engine" in docker.missing()
    assert list(docker.measure(standing)) == []
    monkeypatch.setattr(bench, "PARTS", {"docker": docker.measure})
    assert bench.main([f"--results={tmp_path / 'latest.json'}"]) == 0
    assert "no-such-engine" in capsys.readouterr().out
