"""ECR's helper is added to a user's configuration; all that the user has there stays."""

from __future__ import annotations

import json

import pytest

from sidecar.docker.client_configuration import UnusableConfiguration, add_helpers, host_of

OWN = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
OTHER = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"


@pytest.mark.parametrize("content", [None, b"", b" \n", b"{}"])
def test_without_a_configuration_there_are_only_the_helpers(content):
    """Never `credsStore`: that would send every login to a helper that knows only ECR."""
    document, added = add_helpers(content, [OWN, OTHER])
    assert document == {"credHelpers": {OWN: "ecr-login", OTHER: "ecr-login"}}
    assert added == [OWN, OTHER]


def test_what_the_user_has_stays():
    """Logins, a store, helpers of others and settings are taken over as they are."""
    given = {
        "auths": {"ghcr.io": {"auth": "eDp5"}},
        "credHelpers": {"gcr.io": "gcloud"},
        "credsStore": "pass",
        "proxies": {"default": {"httpProxy": "http://127.0.0.1:3128"}},
    }
    document, added = add_helpers(json.dumps(given).encode(), [OWN])
    assert added == [OWN]
    assert document == {**given, "credHelpers": {"gcr.io": "gcloud", OWN: "ecr-login"}}


@pytest.mark.parametrize(
    "given",
    [
        {"credHelpers": {OWN: "own-program"}},
        {"auths": {OWN: {"auth": "eDp5"}}},
        {"auths": {f"https://{OWN}": {}}},
        {"auths": {f"https://{OWN}/v2/": {}}},
    ],
)
def test_a_user_s_own_entry_for_the_registry_wins(given):
    """By a helper or by a login, also under a URL as older clients wrote it."""
    document, added = add_helpers(json.dumps(given).encode(), [OWN, OTHER])
    assert added == [OTHER]
    assert document.get("auths") == given.get("auths")
    assert document["credHelpers"] == {**given.get("credHelpers", {}), OTHER: "ecr-login"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[]", "not an object"),
        (b'{"credHelpers": ["ecr-login"]}', "credHelpers"),
        (b'{"auths": "x"}', "auths"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_a_file_that_is_no_configuration_is_left_alone(content, reason):
    """Nobody knows what its user meant."""
    with pytest.raises(UnusableConfiguration, match=reason):
        add_helpers(content, [OWN])


def test_tables_may_be_null():
    """A program that writes null for an empty table is understood."""
    document, added = add_helpers(b'{"credHelpers": null, "auths": null}', [OWN])
    assert added == [OWN]
    assert document["credHelpers"] == {OWN: "ecr-login"}


def test_a_host_with_a_port_keeps_it():
    """Only scheme and path are no part of a registry's name."""
    assert host_of("http://localhost:5000/v1/") == host_of("localhost:5000") == "localhost:5000"
