"""Values as people write them: read, or refused with the reason."""

import os
from pathlib import Path

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
    """IPv4 and IPv6 addresses, written as in a URL."""
    assert values.parse_address(text) == address
    assert str(address) == again


@pytest.mark.parametrize(
    ("text", "reason"),
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
def test_an_address_is_an_ip_address(text, reason):
    """Not a name to resolve, and not every address of the machine by accident."""
    with pytest.raises(ValueError, match=reason):
        values.parse_address(text)


def test_an_address_may_be_off():
    """`off` is None; anything else must be an address."""
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
def test_a_github_url_is_accepted(given, kept):
    """github.com, ghe.com and GHES; plain http only on this machine."""
    assert values.check_github_url(given) == kept


@pytest.mark.parametrize(
    ("given", "reason"),
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
def test_a_wrong_github_url_is_refused(given, reason):
    """Before anything is contacted; configure would fail on it much later."""
    with pytest.raises(ValueError, match=reason):
        values.check_github_url(given)


def test_a_name_that_the_runner_would_drop_is_refused():
    """One that begins with a hyphen, is too long or has other characters."""
    for good in ("a", "build-1", "_x.y-z", "n" * 64):
        assert values.check_runner_name(good) == good
    for bad in ("", "-a", "a b", "n" * 65, "ä", "a\n"):
        with pytest.raises(ValueError, match="must be 1 to 64"):
            values.check_runner_name(bad)


def test_a_prefix_leaves_room_for_a_unique_rest():
    """So the whole name is one that GitHub accepts."""
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
    """Separated by commas or as a list; in order, without blanks and duplicates."""
    assert values.parse_labels(given) == found


@pytest.mark.parametrize(
    ("given", "reason"),
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
def test_labels_that_the_runner_would_drop_are_refused(given, reason):
    """A runner without its label would wait for a job for ever."""
    with pytest.raises(ValueError, match=reason):
        values.parse_labels(given)


def test_a_parameter_is_a_name_or_an_arn():
    """SSM takes both; blanks and braces mean that it is something else."""
    for good in (
        "token",
        "/a/b_c.d-e",
        "arn:aws:ssm:eu-central-1:123456789012:parameter/a",
        "/a/{task}",
    ):
        assert values.check_parameter_name(good) == good
    for bad in ("", "a b", '{"token": "x"}', "x" * 2049):
        with pytest.raises(ValueError, match="the name or the ARN"):
            values.check_parameter_name(bad)


def test_an_argument_is_printable_and_no_option():
    """The runner would drop or misread it."""
    assert values.check_argument("Default group") == "Default group"
    for bad in ("-x", "a\nb"):
        with pytest.raises(ValueError, match="printable"):
            values.check_argument(bad)


def test_the_runner_s_folder_holds_its_listener(tmp_path, monkeypatch):
    """A wrong folder is refused before the token is read; a relative one is made absolute."""
    with pytest.raises(ValueError, match=r"holds no bin/Runner\.Listener"):
        checks.check_installed_runner(tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / host.LISTENER).touch()
    monkeypatch.chdir(tmp_path.parent)
    relative = tmp_path.relative_to(tmp_path.parent)
    assert checks.check_installed_runner(relative) == tmp_path


def test_a_folder_that_cannot_be_read_is_refused(tmp_path):
    """The line holds the system's own reason."""
    with pytest.raises(ValueError, match="cannot be looked into: "):
        checks.check_installed_runner(tmp_path / ("x" * (os.pathconf(tmp_path, "PC_NAME_MAX") + 1)))


def test_text_is_made_lower_case():
    """`JSON` is `json`; what is not text is left to the next check."""
    assert values.lower_case("JSON") == "json"
    assert values.lower_case(7) == 7


def test_a_namespace_is_one_that_cloudwatch_takes():
    """What CloudWatch would refuse at the end of a life is refused at its start."""
    for good in ("Runners", "Team/CI.runners_1#a:b", "x" * 255):
        assert values.check_namespace(good) == good
    for bad in ("AWS/ECS", ":x", "", "a\nb", "x" * 256, "ünders"):
        with pytest.raises(ValueError, match="begin with neither"):
            values.check_namespace(bad)


def test_a_role_is_an_arn_of_iam():
    """With or without a path; in every partition."""
    for good in (
        "arn:aws:iam::123456789012:role/job",
        "arn:aws-cn:iam::123456789012:role/a/b/job_1",
    ):
        assert values.check_role_arn(good) == good
    for bad in ("job", "arn:aws:iam::12:role/job", "arn:aws:iam::123456789012:user/job"):
        with pytest.raises(ValueError, match="ARN of an IAM role"):
            values.check_role_arn(bad)


def test_a_session_policy_is_json():
    """It is written without spaces: STS counts characters."""
    assert values.parse_session_policy('{ "Statement": [ ] }') == '{"Statement":[]}'


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("{", "must be JSON"),
        ("[]", "must be an IAM policy, with a Statement"),
        ('{"Statement": "' + "x" * 2048 + '"}', "must be 2048 characters at most"),
    ],
)
def test_a_wrong_session_policy_is_refused(given, reason):
    """With the reason, before STS is asked."""
    with pytest.raises(ValueError, match=reason):
        values.parse_session_policy(given)


def test_a_shared_folder_fits_into_a_bind_mount():
    """No character that separates the parts of a mount, and short enough for a socket."""
    assert str(values.check_shared_dir(Path("/mnt//runner/"))) == "/mnt/runner"
    for bad in ("relative", "/a:b", "/a,b", "/" + "x" * 64):
        with pytest.raises(ValueError, match="must be"):
            values.check_shared_dir(Path(bad))


def test_a_time_is_read_with_its_offset():
    """GitHub writes both forms."""
    utc = values.parse_time("2026-01-22T12:00:00Z")
    assert values.parse_time("2026-01-22T04:00:00-08:00") == utc
