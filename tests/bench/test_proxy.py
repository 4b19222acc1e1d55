"""The docker proxy's figures are measured; how fast it is does not matter here."""

from __future__ import annotations

import sys

import pytest

if sys.platform == "win32":
    pytest.skip("the bench reads /proc and spawns by POSIX", allow_module_level=True)

from bench import __main__ as bench
from bench import docker, proxy, stage


@pytest.fixture(scope="module")
def built():
    """Return the stage that all figures share."""
    with stage.open_stage() as started:
        yield started


def test_the_proxy_figures_are_measured(built):
    """Streams with the proxy and without, and memory before and after; root is not needed."""
    figures = {
        one.key: one for one in proxy.measure(built, turns=1, stream=proxy.MIB, requests=200)
    }
    assert figures.keys() == {"proxy_splice_ratio", "proxy_rss_growth_mib"}
    splice, memory = figures["proxy_splice_ratio"], figures["proxy_rss_growth_mib"]
    assert splice.value > 0
    assert splice.parts["proxy_splice_straight_mib_s"] > 0
    assert memory.parts["proxy_rss_mib"] - memory.parts["proxy_rss_before_mib"] == memory.value


def test_an_incomplete_stream_is_an_error(built):
    """Missing data in either direction is an error."""
    with stage.program("bench.daemon", str(built.folder / "cut.sock")) as path:
        assert proxy.download(path, 3 * proxy.MIB + 1) > 0
        proxy.upload(path, 3 * proxy.MIB + 1)
        proxy.create_and_remove(path)
    with pytest.raises(OSError, match=r"refused|No such file"):
        proxy.download(path, 1)


@pytest.mark.docker
@pytest.mark.root
def test_the_engine_figures_are_measured(built):
    """Containers and an image, with the proxy and without."""
    figures = {one.key: one for one in docker.measure(built, runs=1, turns=1, size=proxy.MIB)}
    assert figures.keys() == set(docker.KEYS)
    assert figures["docker_save_ratio"].value > 0
    assert figures["docker_run_overhead_ms"].parts["docker_run_direct_ms"] > 0


def test_a_missing_engine_gives_no_figure(built, monkeypatch, tmp_path, capsys):
    """The table names the missing program."""
    monkeypatch.setattr(docker, "TOOLS", ("sh", "no-such-engine"))
    assert "no-such-engine" in docker.missing()
    assert list(docker.measure(built)) == []
    monkeypatch.setattr(bench, "PARTS", {"docker": docker.measure})
    assert bench.main([f"--results={tmp_path / 'latest.json'}"]) == 0
    assert "no-such-engine" in capsys.readouterr().out
