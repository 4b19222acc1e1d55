"""A real engine behind the proxy: what a container's start, and a large image, cost more.

The machine's own dockerd, in a namespace made for it, and a whole life whose job waits meanwhile.
With the proxy and without take turns, since nothing on a machine is as slow today as it was then.
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
"""Containers, each way."""
TURNS = 5
"""Savings of the image, each way."""
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
"""Makes an image of a shell alone: every mount would add to what differs from run to run."""


class Ways(NamedTuple):
    """One engine."""

    through: Engine
    """As the job reaches it."""
    direct: Engine


def missing() -> str:
    """Return what is not there."""
    wanted = [tool for tool in TOOLS if shutil.which(tool, path=_PATH) is None]
    return ", ".join(wanted if os.geteuid() == 0 else ["root", *wanted])


def measure(_: Stage, runs: int = RUNS, turns: int = TURNS, size: int = IMAGE) -> Iterator[Figure]:
    """Measure both; nothing if there can be no engine."""
    if missing():
        return
    with engine() as ways:
        yield run(ways, runs)
        yield save(ways, turns, size)


@contextmanager
def engine() -> Iterator[Ways]:
    """Start an engine, and a life that stands before it."""
    from tests.engines import places, proxied  # late: they are large, and few need them

    with places.made(places.OWN, Path("/")) as place, proxied.proxied(place) as through:
        yield Ways(through.engine, place.engine)


def run(ways: Ways, runs: int) -> Figure:
    """Run containers that do nothing, and have no network, which takes the longest to make."""
    ways.direct.inside("sh", "-ec", MAKE_NOTHING)
    argv = ("run", "--rm", "--network", "none", NOTHING, "sh", "-c", ":")
    pairs = by_turns(ways, runs, lambda way: seconds(way, *argv) * 1000)
    through, direct = (typical(times) for times in zip(*pairs, strict=True))
    return Figure(
        "docker_run_overhead_ms",
        typical([ours - theirs for ours, theirs in pairs]),
        f"{through:.1f} ms",
        f"{direct:.1f} ms (no proxy)",
        {"docker_run_ms": through, "docker_run_direct_ms": direct},
    )


def save(ways: Ways, turns: int, size: int) -> Figure:
    """Save a large image to nowhere."""
    image = "bench-large"
    fill = f"head -c {size} /dev/urandom >/tmp/large && tar -C /tmp -c large"
    ways.direct.inside("sh", "-ec", f"{fill} | docker import - {image}", timeout=TIMEOUT)
    pairs = by_turns(ways, turns, lambda way: size / MIB / seconds(way, "save", image))
    through, direct = (typical(rates) for rates in zip(*pairs, strict=True))
    return Figure(
        "docker_save_ratio",
        typical([ours / theirs for ours, theirs in pairs]),
        f"{through:.0f} MiB/s",
        f"{direct:.0f} MiB/s (no proxy)",
        {"docker_save_mib_s": through, "docker_save_direct_mib_s": direct},
    )


def by_turns(
    ways: Ways, turns: int, measured: Callable[[Engine], float]
) -> list[tuple[float, float]]:
    """Measure both ways so often, either first by turns; the first readings only warm up."""
    pairs = []
    for turn in range(turns + 1):
        if turn % 2:
            through, direct = measured(ways.through), measured(ways.direct)
        else:
            direct, through = measured(ways.direct), measured(ways.through)
        pairs.append((through, direct))
    return pairs[1:]


def seconds(way: Engine, *argv: str) -> float:
    """Return how long `docker ARGV` takes. Raises RuntimeError if it fails."""
    begun = monotonic()
    done = subprocess.run(
        way.command(*argv),
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=TIMEOUT,
    )
    took = monotonic() - begun
    if done.returncode != 0:
        raise RuntimeError(f"docker {argv[0]} failed: {done.stderr.decode()}")
    return took
