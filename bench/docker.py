"""Measure what the docker proxy adds to a container's start, and to saving a large image.

The machine's own dockerd runs in a namespace made for it, and an agent runs whose job waits. Runs
with the proxy and without alternate, since a machine's speed changes over time.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from bench.figure import Figure, typical

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.stage import Stage
    from tests.engines.engine import Engine

RUNS = 100
"""Containers, with the proxy and without."""
TURNS = 5
"""Number of savings of the image with the proxy, and without it."""
MIB = 1 << 20
IMAGE = 500 * MIB
KEYS = ("docker_run_overhead_ms", "docker_save_ratio")
TOOLS = ("dockerd", "docker", "iptables", "ip", "nsenter", "setpriv")
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
TIMEOUT = 120.0
NOTHING = "nothing"
MAKE_NOTHING = f"""
cd /clients
needed=$(chroot . ldd /usr/bin/dash | grep -o '/[^ ]*' | sort -u)
tar --create --dereference --transform 's,usr/bin/dash,bin/sh,' \\
    usr/bin/dash $(printf '.%s ' $needed) | docker import - {NOTHING}
"""
"""Makes an image with a shell only: mounts would add to the differences between runs."""


class Engines(NamedTuple):
    """One engine, with the proxy and without."""

    through_proxy: Engine
    """The engine as the job reaches it."""
    direct: Engine


def missing() -> str:
    """Return the names of missing tools."""
    tools = [tool for tool in TOOLS if shutil.which(tool, path=_PATH) is None]
    return ", ".join(tools if os.geteuid() == 0 else ["root", *tools])


def measure(_: Stage, runs: int = RUNS, turns: int = TURNS, size: int = IMAGE) -> Iterator[Figure]:
    """Measure both figures; none if there can be no engine."""
    if missing():
        return
    with start_engine() as engines:
        yield measure_run(engines, runs)
        yield measure_save(engines, turns, size)


@contextmanager
def start_engine() -> Iterator[Engines]:
    """Start an engine, and an agent whose proxy is connected to it."""
    from tests.engines import places, proxied  # late: they are large, and rarely needed

    with (
        places.create(places.DEBIAN_12, Path("/")) as place,
        proxied.run_proxied(place) as life,
    ):
        yield Engines(life.engine, place.engine)


def measure_run(engines: Engines, runs: int) -> Figure:
    """Run containers that do nothing and have no network, since that takes most of the time."""
    engines.direct.run_command("sh", "-ec", MAKE_NOTHING)
    argv = ("run", "--rm", "--network", "none", NOTHING, "sh", "-c", ":")
    pairs = measure_pairs(engines, runs, lambda engine: time_command(engine, *argv) * 1000)
    through_proxy, direct = (typical(times) for times in zip(*pairs, strict=True))
    return Figure(
        "docker_run_overhead_ms",
        typical([ours - theirs for ours, theirs in pairs]),
        f"{through_proxy:.1f} ms",
        f"{direct:.1f} ms (no proxy)",
        {"docker_run_ms": through_proxy, "docker_run_direct_ms": direct},
    )


def measure_save(engines: Engines, turns: int, size: int) -> Figure:
    """Save a large image, and drop the data."""
    image = "bench-large"
    fill = f"head -c {size} /dev/urandom >/tmp/large && tar -C /tmp -c large"
    engines.direct.run_command("sh", "-ec", f"{fill} | docker import - {image}", timeout=TIMEOUT)
    pairs = measure_pairs(
        engines, turns, lambda engine: size / MIB / time_command(engine, "save", image)
    )
    through_proxy, direct = (typical(rates) for rates in zip(*pairs, strict=True))
    return Figure(
        "docker_save_ratio",
        typical([ours / theirs for ours, theirs in pairs]),
        f"{through_proxy:.0f} MiB/s",
        f"{direct:.0f} MiB/s (no proxy)",
        {"docker_save_mib_s": through_proxy, "docker_save_direct_mib_s": direct},
    )


def measure_pairs(
    engines: Engines, turns: int, measure_one: Callable[[Engine], float]
) -> list[tuple[float, float]]:
    """Measure both so often, in alternating order; the first pair only warms up."""
    pairs = []
    for turn in range(turns + 1):
        if turn % 2:
            through_proxy, direct = measure_one(engines.through_proxy), measure_one(engines.direct)
        else:
            direct, through_proxy = measure_one(engines.direct), measure_one(engines.through_proxy)
        pairs.append((through_proxy, direct))
    return pairs[1:]


def time_command(engine: Engine, *argv: str) -> float:
    """Return the seconds that `docker ARGV` takes. Raises RuntimeError if it fails."""
    started = monotonic()
    done = subprocess.run(
        engine.command(*argv),
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=TIMEOUT,
    )
    seconds = monotonic() - started
    if done.returncode != 0:
        raise RuntimeError(f"docker {argv[0]} failed: {done.stderr.decode()}")
    return seconds
