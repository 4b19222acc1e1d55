"""Many containers at once, and an engine that goes away and comes back."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.engines import engine as engines
from tests.engines import matrix, places, proxied, scenes, tasks, wire
from tests.engines.engine import EMPTY, USERLAND
from tests.engines.places import Place

if TYPE_CHECKING:
    from tests.engines.engine import Engine
    from tests.engines.proxied import Proxied

pytestmark = [pytest.mark.docker, pytest.mark.root]

CONTAINERS, AT_ONCE = 200, 20


def path_in_a_container(engine: Engine) -> str:
    """Run a container; return the path that it was told."""
    told = engine.docker("run", "--rm", *USERLAND, EMPTY, "env", timeout=scenes.PATIENCE)
    found = re.search(rf"^{matrix.RELATIVE_URI}=(/\S+)$", told, re.MULTILINE)
    assert found is not None, told
    return found[1]


def sockets(pid: int) -> int:
    """Count the sockets that a process has open."""
    links = Path(f"/proc/{pid}/fd").iterdir()
    return sum(str(link.readlink()).startswith("socket:") for link in links if link.is_symlink())


def test_two_hundred_containers_twenty_at_a_time(through: Proxied) -> None:
    """Each runs, and has a path of its own; afterwards no connection is left."""
    agent = through.living.life.pid
    before = sockets(agent)
    with ThreadPoolExecutor(AT_ONCE) as several:
        paths = list(several.map(lambda _: path_in_a_container(through.engine), range(CONTAINERS)))
    assert len(set(paths)) == CONTAINERS
    scenes.eventually(lambda: sockets(agent) <= before, "as few sockets as before")


def test_the_path_of_a_container_ends_with_it(place: Place, through: Proxied) -> None:
    """Another container that knows it gets nothing, while it runs and after."""
    curl = ("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}")
    tell = ("sh", "-c", f'echo "path ${matrix.RELATIVE_URI}"; sleep infinity & wait')
    with scenes.container(through.engine, argv=tell) as name:
        scenes.eventually(lambda: "path" in through.engine.docker("logs", name), "what it was told")
        path = through.engine.docker("logs", name).split()[1]
        url = f"http://169.254.170.2{path}"
        assert through.engine.docker("exec", name, *curl, url) == "200"
        assert place.engine.run(*curl, url) in {"400", "403", "404"}
    assert place.engine.run(*curl, url) in {"400", "403", "404"}


def test_an_engine_goes_away_and_comes_back(place: Place, root: Path) -> None:
    """Meanwhile it is told as docker tells errors; afterwards all is well, and nothing is lost."""
    own = Path("/") if place.kind == places.OWN else root
    with ExitStack() as down:
        task = down.enter_context(tasks.made())
        folder = down.enter_context(engines.kept())
        life = down.enter_context(ExitStack())
        with engines.running(task.space, own, root, folder) as first:
            first.docker("import", "-", EMPTY, text=bytes(10240))
            through = life.enter_context(proxied.proxied(Place(place.kind, task, first)))
            before = path_in_a_container(through.engine)
            hear = [
                life.enter_context(scenes.following(way, "events"))
                for way in (first, through.engine)
            ]
            for follower in hear:
                assert follower.poll() is None
        direct, proxied_ = (follower.wait(scenes.PATIENCE) for follower in hear)
        assert direct == proxied_ != 0
        gone = wire.spoken(through.socket, wire.request("GET", "/containers/json"))
        assert gone.statuses == [503]
        assert b'{"message":"the docker daemon does not answer' in gone.text
        with engines.running(task.space, own, root, folder) as second:
            second.share(through.shared)
            engine = second.through(through.engine.host)
            assert path_in_a_container(engine) != before
            came = scenes.run_with_half_close(engine)
            assert came == scenes.run_with_half_close(second)
