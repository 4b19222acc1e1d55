"""A container gets the variables that it lacks, unless it has credentials of its own."""

from __future__ import annotations

import pytest

from sidecar.docker.credential_variables import (
    CREDENTIAL_NAMES,
    RELATIVE_URI,
    CredentialVariables,
    merge_env,
    parse_env,
)

VARIABLES = CredentialVariables("eu-central-1", lambda: "/own", frozenset({"/shared"}))


@pytest.mark.parametrize("name", sorted(CREDENTIAL_NAMES))
@pytest.mark.parametrize("value", ["x", "", None])
def test_a_container_with_credentials_gets_nothing(name, value):
    """Neither does one that sets such a variable to nothing."""
    assert not VARIABLES.may_be_added({name: value})


def test_a_container_may_have_a_shared_path():
    """It gets the other variables, and no path of its own."""
    env = {RELATIVE_URI: "/shared"}
    assert VARIABLES.may_be_added(env)
    assert RELATIVE_URI not in VARIABLES.select(env, None)


def test_variables_of_the_container_are_kept():
    """Its region is used for the other name of the region, too."""
    assert VARIABLES.select({"AWS_REGION": "us-east-1"}, "/own") == {
        RELATIVE_URI: "/own",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def test_a_bare_name_has_no_value():
    """An entry that is no text is left to the engine."""
    assert parse_env(["A=1=2", "B=", "C", 7]) == {"A": "1=2", "B": "", "C": None}


def test_merged_variables_replace_those_of_the_same_name():
    """The other entries stay in their order."""
    assert merge_env(["A=1", 7, "B", "C=3"], {"B": "2", "D": "4"}) == [
        *("A=1", 7, "C=3"),
        *("B=2", "D=4"),
    ]


def test_a_path_is_not_shown():
    """It is a secret."""
    assert "/shared" not in repr(VARIABLES)
