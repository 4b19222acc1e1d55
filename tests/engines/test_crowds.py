"""Many containers at once, and an engine that is restarted."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.engines import engine as engines
from tests.engines import matrix, places, proxied, scenes, tasks, wire
from tests.engines.engine import EMPTY, USERLAND
from tests.engines.places import Place

if TYPE_CHECKING:
    from tests.engines.engine import Engine
    from tests.engines.proxied import ProxiedLife

pytestmark = [pytest.mark.docker, pytest.mark.root]

CONTAINERS, AT_ONCE = 200, 20


def read_path_in_container(engine: Engine) -> str:
    """Run a container; return the path in its variables."""
    output = engine.docker_run(*USERLAND, EMPTY, "env", timeout=scenes.PATIENCE)
    found = re.search(rf"^{matrix.RELATIVE_URI}=(/\S+)$", output, re.MULTILINE)
    assert found is not None, output
    return found[1]


def count_sockets(pid: int) -> int:
    """Count the sockets that a process has open."""
    count = 0
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # it was closed meanwhile
            count += str(link.readlink()).startswith("socket:")
    return count


def test_two_hundred_containers_twenty_at_a_time(place: Place, proxied_life: ProxiedLife) -> None:
    """Each has a path of its own; afterwards no connection is left open."""
    agent = proxied_life.running.life.pid
    before = count_sockets(agent)
    with ThreadPoolExecutor(AT_ONCE) as several:
        paths = list(
            several.map(lambda _: read_path_in_container(proxied_life.engine), range(CONTAINERS))
        )
    assert len(set(paths)) == CONTAINERS
    until = time.monotonic() + scenes.PATIENCE
    while count_sockets(agent) > before and time.monotonic() < until:
        place.engine.docker("version")  # not through the agent; nothing tells that it closed one
    assert count_sockets(agent) <= before


def test_the_path_of_a_container_ends_with_it(place: Place, proxied_life: ProxiedLife) -> None:
    """Another container that knows the path gets nothing, while the first one runs and after."""
    curl = ("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}")
    print_path = ("sh", "-c", f'echo "path ${matrix.RELATIVE_URI}"; sleep infinity & wait')
    with scenes.container(proxied_life.engine, argv=print_path) as name:
        path = scenes.read_first_line(proxied_life.engine, "logs", "--follow", name).split()[1]
        url = f"http://169.254.170.2{path}"
        assert proxied_life.engine.docker("exec", name, *curl, url) == "200"
        assert place.engine.run(*curl, url) in {"400", "403", "404"}
    assert place.engine.run(*curl, url) in {"400", "403", "404"}


def test_the_proxy_works_again_after_an_engine_restart(place: Place, root: Path) -> None:
    """Clients get docker's form of an error meanwhile; afterwards everything works again."""
    engine_root = Path("/") if place.kind == places.DEBIAN_12 else root
    with ExitStack() as stack:
        task = stack.enter_context(tasks.create())
        folder = stack.enter_context(engines.create_folder())
        life = stack.enter_context(ExitStack())
        with engines.start_in(task.space, engine_root, root, folder) as first:
            first.docker("import", "-", EMPTY, text=bytes(10240))
            proxied_life = life.enter_context(proxied.run_proxied(Place(place.kind, task, first)))
            before = read_path_in_container(proxied_life.engine)
            followers = [
                life.enter_context(scenes.follow(engine, "events"))
                for engine in (first, proxied_life.engine)
            ]
            for follower in followers:
                assert follower.poll() is None
        direct, through_proxy = (follower.wait(scenes.PATIENCE) for follower in followers)
        assert direct == through_proxy != 0
        refused = wire.send(proxied_life.socket, wire.request("GET", "/containers/json"))
        assert refused.statuses == [503]
        assert b'{"message":"the docker daemon does not answer' in refused.text
        with engines.start_in(task.space, engine_root, root, folder) as second:
            second.share(proxied_life.shared)
            engine = second.with_host(proxied_life.engine.host)
            assert read_path_in_container(engine) != before
            result = scenes.run_with_half_close(engine)
            assert result == scenes.run_with_half_close(second)
            life.close()  # its cleanup asks the engine for what the job created
