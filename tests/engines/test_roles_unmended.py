"""Agents that do not keep containers apart: attacks work there. And life before there is a job.

These lives are not those of test_roles: one agent at a time lives in a task.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.adversary.attackers import start_agent
from tests.engines import askers, places, proxied
from tests.engines.askers import NOTHING, Askers
from tests.engines.ruled import (
    CHANGED,
    NONE,
    RULES,
    TRICKS,
    WITH_DB,
    all_have,
    make_askers,
    play_trick,
    take_over,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engines.places import Place

pytestmark = [pytest.mark.docker, pytest.mark.root]

DEAF = """
from sidecar.docker import container_listener
container_listener._handle_event = lambda event, handler: None
"""
"""An agent that hears of no event, as any agent does in the moment before it hears of one."""
TRUSTING = """
from sidecar.relay.identities import Identities
confirm = Identities.must_confirm
Identities.must_confirm = lambda self, one: one is self._stranger and confirm(self, one)
"""
"""An agent that takes an address for known, whatever was started since."""
LENIENT = """
from sidecar.docker import strict_mode
from sidecar.docker.container_create import ContainerCreate
strict_mode.check_start = lambda body: None
ContainerCreate._shares_network = property(lambda self: False)
"""
"""An agent that lets a container of any rule use the task's network."""


@pytest.mark.parametrize("trusts", [True, False], ids=["unmended", "mended"])
def test_an_agent_that_hears_of_no_event_asks_who_has_an_address(
    place: Place, root: Path, trusts: bool
) -> None:
    """Else it would serve the role of the container that had it before."""
    askers.add_image(place.engine, root)
    argv = start_agent(DEAF + TRUSTING if trusts else DEAF)
    with proxied.run_proxied(place, argv=argv, SIDECAR_ROLES=RULES) as life:
        (got,) = take_over(make_askers(place, life), 1)
    taken = "db" if trusts else NOTHING
    assert got == {"own path": NOTHING, "job's path": taken, "address": taken}


def test_before_the_job_is_known_no_container_has_anything(place: Place, root: Path) -> None:
    """The relay says "not yet"; afterwards a container has nothing that was made before its job.

    One without a rule of its own then has what the job has.
    """
    askers.add_image(place.engine, root)
    early: dict[str, str] = {}
    got: dict[str, dict[str, str]] = {}
    known = {"own path": "503", "job's path": "503", "address": "503"}

    def start(socket: str) -> None:
        ask = Askers(place.engine.with_host(f"unix://{socket}"), place.task, "/v2/credentials/x")
        for option in (NONE, WITH_DB, "--label=other"):
            early[option] = ask.start(option)
            got[option] = ask.ask(early[option], patient=False)

    with proxied.run_proxied(place, before_job=start, SIDECAR_ROLES=RULES) as life:
        ask = make_askers(place, life)
        assert got == dict.fromkeys(early, known)
        later = {option: ask.ask(container)["own path"] for option, container in early.items()}
        assert later == {NONE: NOTHING, WITH_DB: NOTHING, "--label=other": "job"}
        assert ask.run(WITH_DB) == all_have("db")


def test_the_tricks_work_with_an_agent_that_lets_them_pass(place: Place, root: Path) -> None:
    """All that the engine takes; so the test above would notice them."""
    askers.add_image(place.engine, root)
    with proxied.run_proxied(place, argv=start_agent(LENIENT), SIDECAR_ROLES=RULES) as life:
        ask = make_askers(place, life)
        tried = [trick for trick in (*TRICKS, CHANGED) if trick != "another's"]
        got = {trick: play_trick(ask, life.socket, trick) for trick in tried}
    works = {trick for trick in tried if got[trick].get("address") == "job"}
    old = {CHANGED} if place.kind == places.DEBIAN_12 else set()
    assert works == {"host", "outside of HostConfig", *old}, got
