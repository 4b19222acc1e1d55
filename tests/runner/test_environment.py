"""The environment that the runner and its jobs see."""

from sidecar import host
from sidecar.runner.environment import environment

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
