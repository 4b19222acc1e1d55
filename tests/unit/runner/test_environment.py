"""The environment that the runner and its jobs see."""

from sidecar import host
from sidecar.runner.environment import (
    AGENTS_CREDENTIALS,
    RELAY_URI,
    credentials,
    environment,
    no_credentials,
    without_agents,
)

DEPRECATED = {"ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE": "1"}


def test_what_is_passed_on_goes_through_untouched():
    """Proxies, certificates, the tool cache; and an old version tells itself by its exit code."""
    passed_on = {"HTTPS_PROXY": "http://p:1", "HOME": "/root"}
    assert environment(passed_on, None) == passed_on | DEPRECATED
    assert passed_on == {"HTTPS_PROXY": "http://p:1", "HOME": "/root"}


def test_another_user_gets_a_home_of_its_own():
    """Tools that write below HOME must not meet root's."""
    user = host.Identity("runner", 1001, 1001, (1001,), "/home/runner")
    assert (
        environment({"HOME": "/root", "USER": "root"}, user)
        == {
            "HOME": "/home/runner",
            "USER": "runner",
            "LOGNAME": "runner",
        }
        | DEPRECATED
    )


def test_a_job_with_less_sees_nothing_of_the_agent_s():
    """No variable by which an SDK comes to credentials, nor the agent's way to lift protection."""
    kept = {"PATH": "/bin", "AWS_REGION": "r", "AWS_ENDPOINT_URL_S3": "u", "AWS_CA_BUNDLE": "c"}
    agents = dict.fromkeys(AGENTS_CREDENTIALS, "SECRET") | {"ECS_AGENT_URI": "http://a/api/x"}
    metadata = {"ECS_CONTAINER_METADATA_URI_V4": "http://a/v4/x"}
    assert (
        without_agents(kept | agents | metadata, separate_job_role=True, redirected=False)
        == kept | metadata
    )
    assert without_agents(kept | agents | metadata, separate_job_role=True, redirected=True) == kept


def test_exactly_one_uri_is_named():
    """SDKs do not agree on which of two wins."""
    uri, path = "http://127.0.0.1:5/v2/credentials/x", "/v2/credentials/x"
    common = {"AWS_EC2_METADATA_DISABLED": "true", RELAY_URI: uri}
    assert credentials({}, uri, None) == common | {"AWS_CONTAINER_CREDENTIALS_FULL_URI": uri}
    assert credentials({}, uri, path) == common | {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": path}


def test_the_region_is_named_for_every_sdk():
    """With the instance's metadata off some have nowhere else to look for it."""
    named = credentials({"AWS_REGION": "a"}, "u", None)
    assert (named["AWS_REGION"], named["AWS_DEFAULT_REGION"]) == ("a", "a")
    named = credentials({"AWS_DEFAULT_REGION": "b"}, "u", None)
    assert (named["AWS_REGION"], named["AWS_DEFAULT_REGION"]) == ("b", "b")
    named = credentials({"AWS_REGION": "a", "AWS_DEFAULT_REGION": "b"}, "u", None)
    assert (named["AWS_REGION"], named["AWS_DEFAULT_REGION"]) == ("a", "b")


def test_no_proxy_sees_a_request_for_credentials():
    """Where a proxy is set; what the user excepts already stays excepted."""
    named = credentials({"http_proxy": "http://p", "NO_PROXY": "intern, 127.0.0.1"}, "u", None)
    assert named["NO_PROXY"] == "intern,127.0.0.1,169.254.169.254,169.254.170.2"
    assert named["no_proxy"] == named["NO_PROXY"]
    assert "NO_PROXY" not in credentials({"NO_PROXY": "x"}, "u", None)


def test_an_explicit_wish_for_the_instance_s_metadata_is_kept():
    """It is off by default, so that nothing falls through to the instance's role."""
    assert no_credentials({}) == {"AWS_EC2_METADATA_DISABLED": "true"}
    registration_request = {"AWS_EC2_METADATA_DISABLED": "false"}
    assert no_credentials(registration_request) == registration_request
