"""The choice of a relay mode from facts about the task and its daemon."""

from __future__ import annotations

import pytest

from sidecar.errors import RelayError
from sidecar.relay.daemon_location import DaemonLocation
from sidecar.relay.mode import Facts, choose

HERE = Facts(DaemonLocation.HERE, "seen here")
HOST = Facts(DaemonLocation.HERE, "seen here", obstacle="mode host")
ELSEWHERE = Facts(DaemonLocation.ELSEWHERE, "seen elsewhere")


def with_job_role(location: DaemonLocation, obstacle: str | None = None) -> Facts:
    """Return the facts of a task with a separate job role."""
    return Facts(location, "seen", obstacle=obstacle, separate_job_role=True)


@pytest.mark.parametrize(
    ("wanted", "facts", "mode", "reason"),
    [
        ("auto", Facts(DaemonLocation.ABSENT, "seen absent"), "local", "seen absent"),
        ("auto", HERE, "netfilter", "seen here"),
        ("auto", Facts(DaemonLocation.SILENT, "seen silent"), "netfilter", "seen silent"),
        ("auto", ELSEWHERE, "pass-through", "seen elsewhere"),
        ("auto", HOST, "pass-through", "mode host"),
        (
            "auto",
            Facts(DaemonLocation.SILENT, "seen", obstacle="no right"),
            "pass-through",
            "no right",
        ),
        (
            "auto",
            Facts(DaemonLocation.ELSEWHERE, "seen", relative_uri=False),
            "local",
            "RELATIVE_URI",
        ),
        ("auto", Facts(DaemonLocation.ELSEWHERE, "seen", machine=True), "local", "hop limit"),
        ("auto", with_job_role(DaemonLocation.ELSEWHERE), "local", "shall not have the task role"),
        (
            "auto",
            with_job_role(DaemonLocation.HERE, "no right"),
            "local",
            "shall not have the task role",
        ),
        ("auto", with_job_role(DaemonLocation.HERE), "netfilter", "seen"),
        ("local", HERE, "local", "SIDECAR_RELAY=local"),
        ("netfilter", HERE, "netfilter", "SIDECAR_RELAY=netfilter"),
        ("netfilter", Facts(DaemonLocation.ABSENT, "seen"), "netfilter", "SIDECAR_RELAY=netfilter"),
        ("pass-through", HERE, "pass-through", "SIDECAR_RELAY=pass-through"),
        ("off", HERE, "off", "SIDECAR_RELAY=off"),
    ],
)
def test_each_case_has_its_mode_and_a_reason(wanted, facts, mode, reason):
    """There are rules only for a daemon in a namespace that belongs to the task."""
    choice = choose(wanted, facts)
    assert choice.mode.value == mode
    assert reason in choice.reason


@pytest.mark.parametrize(
    ("wanted", "facts", "reason"),
    [
        ("netfilter", HOST, r"mode host \(SIDECAR_RELAY=netfilter"),
        ("netfilter", ELSEWHERE, "seen elsewhere"),
        (
            "pass-through",
            Facts(DaemonLocation.HERE, "x", relative_uri=False),
            "CREDENTIALS_RELATIVE_URI",
        ),
    ],
)
def test_a_forced_mode_that_is_not_possible_is_an_error(wanted, facts, reason):
    """The error says what is missing, and names the setting."""
    with pytest.raises(RelayError, match=reason) as failed:
        choose(wanted, facts)
    assert f"SIDECAR_RELAY={wanted}; " in str(failed.value)
