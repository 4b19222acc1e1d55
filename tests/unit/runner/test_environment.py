"""The environment that the runner and its jobs see."""

import pytest

from sidecar import host
from sidecar.runner.environment import (
    AGENTS_CREDENTIALS,
    RELAY_URI,
    build_environment,
    credential_variables,
    disable_instance_role,
    remove_agent_variables,
)

DEPRECATED = {"ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE": "1"}


def test_other_variables_are_passed_on_unchanged():
    """Proxies, certificates, the tool cache; one is added, for the exit code of an old version."""
    passed_on = {"HTTPS_PROXY": "http://p:1", "HOME": "/root"}
    assert build_environment(passed_on, None) == passed_on | DEPRECATED
    assert passed_on == {"HTTPS_PROXY": "http://p:1", "HOME": "/root"}


def test_another_user_gets_a_home_of_its_own():
    """Tools that write below HOME must not use root's."""
    user = host.User("runner", 1001, 1001, (1001,), "/home/runner")
    assert (
        build_environment({"HOME": "/root", "USER": "root"}, user)
        == {
            "HOME": "/home/runner",
            "USER": "runner",
            "LOGNAME": "runner",
        }
        | DEPRECATED
    )


def test_a_job_with_a_separate_role_gets_no_agent_variable():
    """None with which an SDK finds credentials, nor the endpoint that removes protection."""
    kept = {"PATH": "/bin", "AWS_REGION": "r", "AWS_ENDPOINT_URL_S3": "u", "AWS_CA_BUNDLE": "c"}
    agents = dict.fromkeys(AGENTS_CREDENTIALS, "SECRET") | {"ECS_AGENT_URI": "http://a/api/x"}
    metadata = {"ECS_CONTAINER_METADATA_URI_V4": "http://a/v4/x"}
    assert (
        remove_agent_variables(kept | agents | metadata, separate_job_role=True, redirected=False)
        == kept | metadata
    )
    assert (
        remove_agent_variables(kept | agents | metadata, separate_job_role=True, redirected=True)
        == kept
    )


def test_exactly_one_uri_is_set():
    """SDKs do not agree on which of two wins."""
    uri, path = "http://127.0.0.1:5/v2/credentials/x", "/v2/credentials/x"
    common = {"AWS_EC2_METADATA_DISABLED": "true", RELAY_URI: uri}
    assert credential_variables({}, uri, None) == common | {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": uri
    }
    assert credential_variables({}, uri, path) == common | {
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": path
    }


def test_the_region_is_set_for_every_sdk():
    """Without instance metadata some have no other source for it."""
    named = credential_variables({"AWS_REGION": "a"}, "u", None)
    assert (named["AWS_REGION"], named["AWS_DEFAULT_REGION"]) == ("a", "a")
    named = credential_variables({"AWS_DEFAULT_REGION": "b"}, "u", None)
    assert (named["AWS_REGION"], named["AWS_DEFAULT_REGION"]) == ("b", "b")
    named = credential_variables({"AWS_REGION": "a", "AWS_DEFAULT_REGION": "b"}, "u", None)
    assert (named["AWS_REGION"], named["AWS_DEFAULT_REGION"]) == ("a", "b")


def test_no_request_for_credentials_goes_to_a_proxy():
    """Where a proxy is set; the user's own exceptions are kept."""
    named = credential_variables(
        {"http_proxy": "http://p", "NO_PROXY": "intern, 127.0.0.1"}, "u", None
    )
    assert named["NO_PROXY"] == "intern,127.0.0.1,169.254.169.254,169.254.170.2"
    assert named["no_proxy"] == named["NO_PROXY"]
    assert "NO_PROXY" not in credential_variables({"NO_PROXY": "x"}, "u", None)


@pytest.mark.parametrize(
    ("given", "hosts"),
    [
        ({"NO_PROXY": "*"}, "*"),
        ({"NO_PROXY": "a", "no_proxy": "*"}, "*"),
        ({"NO_PROXY": "a", "no_proxy": "b,a"}, "a,b,127.0.0.1,169.254.169.254,169.254.170.2"),
        ({"no_proxy": "'a'"}, "a,127.0.0.1,169.254.169.254,169.254.170.2"),
    ],
)
def test_no_host_is_lost_where_the_metadata_join_the_list(given, hosts):
    """The value for every host stays alone: in a list it would be a wildcard to no one."""
    named = credential_variables({"https_proxy": "http://p", **given}, "u", None)
    assert named["NO_PROXY"] == named["no_proxy"] == hosts


def test_an_explicit_setting_for_instance_metadata_is_kept():
    """It is off by default, so that no job uses the instance role."""
    assert disable_instance_role({}) == {"AWS_EC2_METADATA_DISABLED": "true"}
    passed_on = {"AWS_EC2_METADATA_DISABLED": "false"}
    assert disable_instance_role(passed_on) == passed_on
