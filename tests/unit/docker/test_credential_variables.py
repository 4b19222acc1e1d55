"""A container gets the variables that it lacks, unless it has credentials of its own."""

from __future__ import annotations

import pytest

from sidecar.docker.credential_variables import (
    METADATA_DISABLED,
    CredentialVariables,
    merge_env,
    parse_env,
)
from sidecar.docker.own_configuration import (
    CONFIGURATION_NAMES,
    CREDENTIAL_NAMES,
    RELATIVE_URI,
    Own,
)

VARIABLES = CredentialVariables("eu-central-1", lambda: "/own", frozenset({"/shared"}))


@pytest.mark.parametrize("name", sorted(CREDENTIAL_NAMES))
def test_a_container_with_credentials_gets_nothing(name):
    """By whichever variable it brings them."""
    assert VARIABLES.find_own({name: "x"}) is Own.CREDENTIALS


@pytest.mark.parametrize("name", sorted(CONFIGURATION_NAMES))
def test_a_container_with_a_configuration_gets_a_path_alone(name):
    """Its own region and its own switches win; a profile without credentials still needs some."""
    assert VARIABLES.find_own({name: "x"}) is Own.CONFIGURATION
    assert VARIABLES.select({name: "x"}, "/own", Own.CONFIGURATION) == {RELATIVE_URI: "/own"}


@pytest.mark.parametrize(
    "name", sorted({*CREDENTIAL_NAMES, *CONFIGURATION_NAMES, "AWS_REGION", METADATA_DISABLED})
)
@pytest.mark.parametrize("value", ["", None])
def test_a_name_without_a_value_brings_nothing(name, value):
    """Neither credentials nor a region nor a switch: the container gets what every other gets."""
    assert VARIABLES.find_own({name: value}) is Own.NOTHING
    assert VARIABLES.select({name: value}, "/own") == VARIABLES.select({}, "/own")


def test_a_container_may_have_a_shared_path():
    """It gets the other variables, and no path of its own."""
    env = {RELATIVE_URI: "/shared"}
    assert VARIABLES.find_own(env) is Own.NOTHING
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


def test_unset_variables_are_bare_names():
    """That is how the engine unsets a variable of an image; one that is set is not unset."""
    assert merge_env(["A=1", "B=", "C="], {"C": "3"}, ["B", "C"]) == ["A=1", "B", "C=3"]


def test_a_path_is_not_shown():
    """It is a secret."""
    assert "/shared" not in repr(VARIABLES)
