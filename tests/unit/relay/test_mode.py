"""The choice of a mode, from what is seen of the task and of its daemon."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.docker.engine import Engine, Unanswered
from sidecar.errors import RelayError
from sidecar.relay import mode
from sidecar.relay.mode import Docker, Facts, chosen, located

HERE = Facts(Docker.HERE, "told here")
HOST = Facts(Docker.HERE, "told here", obstacle="mode host")
ELSEWHERE = Facts(Docker.ELSEWHERE, "told elsewhere")


def separate_job_role(docker: Docker, obstacle: str | None = None) -> Facts:
    """Return facts of a task whose jobs have a role of their own."""
    return Facts(docker, "told", obstacle=obstacle, separate_job_role=True)


@pytest.mark.parametrize(
    ("wanted", "facts", "mode", "reason"),
    [
        ("auto", Facts(Docker.ABSENT, "told absent"), "local", "told absent"),
        ("auto", HERE, "netfilter", "told here"),
        ("auto", Facts(Docker.SILENT, "told silent"), "netfilter", "told silent"),
        ("auto", ELSEWHERE, "pass-through", "told elsewhere"),
        ("auto", HOST, "pass-through", "mode host"),
        ("auto", Facts(Docker.SILENT, "told", obstacle="no right"), "pass-through", "no right"),
        ("auto", Facts(Docker.ELSEWHERE, "told", relative_uri=False), "local", "RELATIVE_URI"),
        ("auto", separate_job_role(Docker.ELSEWHERE), "local", "shall not have the task role"),
        (
            "auto",
            separate_job_role(Docker.HERE, "no right"),
            "local",
            "shall not have the task role",
        ),
        ("auto", separate_job_role(Docker.HERE), "netfilter", "told"),
        ("local", HERE, "local", "SIDECAR_RELAY=local"),
        ("netfilter", HERE, "netfilter", "SIDECAR_RELAY=netfilter"),
        ("netfilter", Facts(Docker.ABSENT, "told"), "netfilter", "SIDECAR_RELAY=netfilter"),
        ("pass-through", HERE, "pass-through", "SIDECAR_RELAY=pass-through"),
        ("off", HERE, "off", "SIDECAR_RELAY=off"),
    ],
)
def test_each_case_has_its_mode_and_says_why(wanted, facts, mode, reason):
    """A daemon in a namespace of the task's own gets rules; any other way no rule is touched."""
    choice = chosen(wanted, facts)
    assert choice.mode.value == mode
    assert reason in choice.reason


@pytest.mark.parametrize(
    ("wanted", "facts", "why"),
    [
        ("netfilter", HOST, r"mode host \(SIDECAR_RELAY=netfilter"),
        ("netfilter", ELSEWHERE, "told elsewhere"),
        ("pass-through", Facts(Docker.HERE, "x", relative_uri=False), "CREDENTIALS_RELATIVE_URI"),
    ],
)
def test_a_forced_mode_that_cannot_be_says_what_is_missing(wanted, facts, why):
    """And names the setting that avoids it."""
    with pytest.raises(RelayError, match=why) as failed:
        chosen(wanted, facts)
    assert f"SIDECAR_RELAY={wanted}; " in str(failed.value)


class Answering(Engine):
    """A daemon that tells these networks, or none."""

    __slots__ = ()
    told: tuple[dict, ...] | None = None

    async def networks(self):
        """Tell them."""
        if self.told is None:
            raise Unanswered("it is silent")
        return list(self.told)


def found(engine, told=None):
    """Locate an engine that tells these networks."""
    Answering.told = told
    return asyncio.run(located(engine))


def bridge(name="docker0", gateway=None, subnet="192.0.2.0/24", driver="bridge"):
    """Return a network as the daemon tells it."""
    config = {"Subnet": subnet, **({"Gateway": gateway} if gateway else {})}
    options = {"com.docker.network.bridge.name": name}
    return {"Driver": driver, "Id": "0" * 64, "Options": options, "IPAM": {"Config": [config]}}


SOCKET = "unix:///var/run/docker.sock"


def test_a_daemon_is_found_by_its_bridge(monkeypatch):
    """By the gateway's address, or by an interface of that name and network."""
    assert found(None)[0] is Docker.ABSENT
    assert found(Answering(SOCKET)) == (Docker.SILENT, "it is silent")
    assert found(Answering(SOCKET), ())[0] is Docker.ELSEWHERE
    assert found(Answering(SOCKET), (bridge(gateway="127.0.0.1"),))[0] is Docker.HERE
    assert (
        found(Answering(SOCKET), (bridge(gateway="127.0.0.1", driver="x"),))[0] is not Docker.HERE
    )
    monkeypatch.setattr(mode, "has_network", lambda *seen: seen == ("docker0", "192.0.2.0/24"))
    assert found(Answering(SOCKET), (bridge(),))[0] is Docker.HERE
    assert found(Answering(SOCKET), (bridge(name=""),))[0] is Docker.ELSEWHERE


@pytest.mark.parametrize(
    ("named", "where"),
    [
        ("tcp://127.0.0.1:2375", Docker.HERE),
        ("tcp://localhost:2376", Docker.HERE),
        ("tcp://nowhere.invalid:2376", Docker.SILENT),
    ],
)
def test_a_daemon_on_the_network_is_judged_by_its_address(named, where):
    """It may want a certificate, which is none of the agent's business."""
    assert found(Answering(named))[0] is where


def test_a_name_that_takes_too_long_is_silence(monkeypatch):
    """A dead name server does not hold a life up."""
    monkeypatch.setattr(mode, "_LOOKUP", 0.0)
    assert found(Answering("tcp://localhost:2376"))[0] is Docker.SILENT
