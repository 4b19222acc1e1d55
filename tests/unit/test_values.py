"""Single values as people write them."""

import os

import pytest

from sidecar import host, values
from sidecar.settings import checks
from sidecar.values import Address


@pytest.mark.parametrize(
    ("text", "address", "again"),
    [
        ("127.0.0.1:9190", Address("127.0.0.1", 9190), "127.0.0.1:9190"),
        ("[::1]:0", Address("::1", 0), "[::1]:0"),
        ("[0:0::1]:80", Address("::1", 80), "[::1]:80"),
        ("10.0.0.7:65535", Address("10.0.0.7", 65535), "10.0.0.7:65535"),
    ],
)
def test_an_address_is_read_and_written(text, address, again):
    """IPv4 and IPv6 literals, the way a URL writes them."""
    assert values.parse_address(text) == address
    assert str(address) == again


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("localhost:80", "must be an IP address and a port"),
        ("127.0.0.1", "must be an IP address and a port"),
        ("127.0.0.1:", "must be an IP address and a port"),
        ("127.0.0.1:http", "must be an IP address and a port"),
        ("", "must be an IP address and a port"),
        ("127.0.0.1:65536", "outside 0 to 65535"),
        ("127.0.0.1:-1", "outside 0 to 65535"),
        ("0.0.0.0:80", "reachable from the network"),
        ("[::]:80", "reachable from the network"),
    ],
)
def test_an_address_is_one_and_a_literal(text, why):
    """No name to resolve, and never every address of the machine by accident."""
    with pytest.raises(ValueError, match=why):
        values.parse_address(text)


def test_an_address_may_be_off():
    """`off` is no address; anything else must be one."""
    assert values.parse_address_or_off("off") is None
    assert values.parse_address_or_off(None) is None
    assert values.parse_address_or_off("127.0.0.1:1") == Address("127.0.0.1", 1)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://github.com/octo-org", "https://github.com/octo-org"),
        ("https://github.com/octo-org/octo.repo/", "https://github.com/octo-org/octo.repo"),
        ("https://github.com/enterprises/octo", "https://github.com/enterprises/octo"),
        ("https://octo.ghe.com/org/repo", "https://octo.ghe.com/org/repo"),
        ("https://ghes.example:8443//org//repo", "https://ghes.example:8443/org/repo"),
        ("http://127.0.0.1:1234/org", "http://127.0.0.1:1234/org"),
        ("http://localhost/org/repo", "http://localhost/org/repo"),
        ("http://[::1]:1/org", "http://[::1]:1/org"),
    ],
)
def test_a_github_url_names_who_to_register_with(given, kept):
    """github.com, ghe.com and GHES alike; plain http only on this machine."""
    assert values.check_github_url(given) == kept


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("github.com/octo", "must begin with https://"),
        ("http://github.com/octo", "must begin with https://"),
        ("http:///octo", "must begin with https://"),
        ("ssh://git@github.com/octo", "must begin with https://"),
        ("https:///octo", "plain URL"),
        ("https://user:word@github.com/octo", "plain URL"),
        ("https://github.com/octo?x=1", "plain URL"),
        ("https://github.com/octo#x", "plain URL"),
        ("https://github.com", "must name an organization"),
        ("https://github.com/a/b/c", "must name an organization"),
        ("https://github.com/a b", "must name an organization"),
        ("https://[github.com/a", "Invalid IPv6"),
    ],
)
def test_a_github_url_is_nothing_else(given, why):
    """What configure would only fail on later is refused before anything is contacted."""
    with pytest.raises(ValueError, match=why):
        values.check_github_url(given)


def test_a_name_is_one_that_the_runner_keeps():
    """The runner drops a name that begins with a hyphen, and GitHub one that is too long."""
    for good in ("a", "build-1", "_x.y-z", "n" * 64):
        assert values.check_runner_name(good) == good
    for bad in ("", "-a", "a b", "n" * 65, "ä", "a\n"):
        with pytest.raises(ValueError, match="must be 1 to 64"):
            values.check_runner_name(bad)


def test_a_prefix_leaves_room():
    """What makes the name unique still fits behind it."""
    assert values.check_name_prefix("p" * 40) == "p" * 40
    with pytest.raises(ValueError, match="must leave room"):
        values.check_name_prefix("p" * 41)
    with pytest.raises(ValueError, match="not beginning with '-'"):
        values.check_name_prefix("-p")


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("ecs,large", ("ecs", "large")),
        (" ecs , large ,, ecs,", ("ecs", "large")),
        ("", ()),
        (["ecs", " large "], ("ecs", "large")),
        (("a",), ("a",)),
        ("with space,größe", ("with space", "größe")),
        ("x" * 256, ("x" * 256,)),
    ],
)
def test_labels_are_read_once_each(given, found):
    """By commas or as a list, in order, without blanks and doubles."""
    assert values.parse_labels(given) == found


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("x" * 257, "256 printable characters at most"),
        (["a,b"], "256 printable characters at most"),
        ("a\x1bb", "256 printable characters at most"),
        ("ok,-bad", "which the runner drops"),
        ({"a": 1}, "separated by commas"),
        ([1], "separated by commas"),
        (7, "separated by commas"),
    ],
)
def test_labels_that_the_runner_would_lose_are_refused(given, why):
    """A runner without its label waits for a job for ever."""
    with pytest.raises(ValueError, match=why):
        values.parse_labels(given)


def test_a_parameter_is_a_name_or_an_arn():
    """Both forms that SSM takes, and nothing with blanks or braces in it."""
    for good in ("token", "/a/b_c.d-e", "arn:aws:ssm:eu-central-1:123456789012:parameter/a"):
        assert values.check_parameter_name(good) == good
    for bad in ("", "a b", '{"token": "x"}', "x" * 2049):
        with pytest.raises(ValueError, match="the name or the ARN"):
            values.check_parameter_name(bad)


def test_an_argument_is_plain():
    """What goes to the runner as one argument arrives as one."""
    assert values.check_argument("Default group") == "Default group"
    for bad in ("-x", "a\nb"):
        with pytest.raises(ValueError, match="printable"):
            values.check_argument(bad)


def test_the_runner_s_folder_holds_its_listener(tmp_path, monkeypatch):
    """A wrong folder is told before the token is touched; a relative one is made absolute."""
    with pytest.raises(ValueError, match=r"holds no bin/Runner\.Listener"):
        checks.installed_runner(tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / host.LISTENER).touch()
    monkeypatch.chdir(tmp_path.parent)
    relative = tmp_path.relative_to(tmp_path.parent)
    assert checks.installed_runner(relative) == tmp_path


def test_a_folder_that_cannot_be_looked_into_is_refused(tmp_path):
    """The system's own reason is told, not raised."""
    with pytest.raises(ValueError, match="cannot be looked into: "):
        checks.installed_runner(tmp_path / ("x" * (os.pathconf(tmp_path, "PC_NAME_MAX") + 1)))


def test_words_are_read_in_any_case():
    """`JSON` is `json`; what is no text is left to the check that follows."""
    assert values.lower_case("JSON") == "json"
    assert values.lower_case(7) == 7


def test_a_namespace_is_one_that_cloudwatch_takes():
    """AWS keeps its own; what it would refuse later is refused at once."""
    for good in ("Runners", "Team/CI.runners_1#a:b", "x" * 255):
        assert values.check_namespace(good) == good
    for bad in ("AWS/ECS", ":x", "", "a\nb", "x" * 256, "ünders"):
        with pytest.raises(ValueError, match="begin with neither"):
            values.check_namespace(bad)
