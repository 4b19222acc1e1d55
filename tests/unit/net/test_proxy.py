"""The proxy that the environment names, read as curl and botocore read it."""

from __future__ import annotations

import asyncio
import json
import os

import aiohttp
import pytest

from sidecar.errors import SettingsError
from sidecar.log import masks
from sidecar.log.masks import mask_known_secrets
from sidecar.net import proxy
from sidecar.net.library_variables import set_for_libraries
from sidecar.net.proxy import add_hosts, check, clean, find_proxy, read_proxy

SECRET_VALUES = [
    "builder:w0rd@127.0.0.1:3128",
    "http://builder:w0rd@127.0.0.1:3128",
    "'http://builder:w0rd@127.0.0.1:3128'",
    '"builder:w0rd@127.0.0.1:3128"',
    "//builder:w0rd@127.0.0.1:3128/",
]


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """No proxy of this machine, and no secret of another test."""
    for name in [each for each in os.environ if each.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(masks, "_secrets", set())


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://api.github.com/x", "http://secure:3128"),
        ("http://git.example:8080/x", "http://plain:3128"),
        ("https://git.internal/x", None),
        ("https://", None),
    ],
)
def test_the_proxy_is_that_of_the_scheme(monkeypatch, url, expected):
    """A host of NO_PROXY has none, nor has what is no URL."""
    monkeypatch.setenv("http_proxy", "http://plain:3128")
    monkeypatch.setenv("https_proxy", "http://secure:3128")
    monkeypatch.setenv("no_proxy", ".internal")
    assert find_proxy(url).get("proxy") == expected


@pytest.mark.parametrize("value", SECRET_VALUES)
def test_a_value_is_read_as_curl_reads_it(monkeypatch, value):
    """Without a scheme it is http, and quotes of an env file are none of it.

    User and password go apart, so that no library can quote them in an error.
    """
    monkeypatch.setenv("HTTPS_PROXY", value)
    found = find_proxy("https://api.github.com")
    assert found["proxy"] == "http://127.0.0.1:3128"
    assert found["proxy_headers"] == {"Proxy-Authorization": "Basic YnVpbGRlcjp3MHJk"}
    monkeypatch.setenv("HTTP_PROXY", value)
    assert find_proxy("http://git.example") == {"proxy": "http://builder:w0rd@127.0.0.1:3128"}


def test_a_password_may_have_any_character():
    """Those with a meaning in a URL are escaped in it, or not, as people write it."""
    assert read_proxy("http://u:p%40%23ss@h:1").userinfo == "u:p%40%23ss"
    assert read_proxy("http://u:p@#ss@h:1") == read_proxy("http://u:p%40%23ss@h:1")
    assert read_proxy("https://[::1]:3129").url == "https://[::1]:3129"


@pytest.mark.parametrize("value", ["http://u:secret-word@host:port", "http://", "a b:c:d@x y:1:2"])
def test_a_value_that_names_no_proxy_is_one_clear_error(monkeypatch, value):
    """It names the variable, before anything is asked, and says no word of the value."""
    monkeypatch.setenv("HTTPS_PROXY", value)
    (problem,) = check({"HTTPS_PROXY": value})
    with pytest.raises(SettingsError) as failed:
        find_proxy("https://api.github.com")
    for text in (problem, str(failed.value)):
        assert text.startswith("HTTPS_PROXY must be the URL of a proxy")
        assert "secret-word" not in text


def test_a_proxy_of_another_kind_is_only_an_error_where_it_is_used(monkeypatch):
    """The runner knows SOCKS, the agent does not; it may have no call of its own to make."""
    monkeypatch.setenv("https_proxy", "socks5://u:secret-word@h:1080")
    assert check(os.environ) == []
    with pytest.raises(SettingsError, match="HTTPS_PROXY must name a proxy by http:// or https://"):
        find_proxy("https://api.github.com")


@pytest.mark.parametrize("value", SECRET_VALUES)
@pytest.mark.parametrize("masked", [True, False])
def test_no_part_of_a_proxy_but_its_host_is_in_an_event(monkeypatch, value, masked):
    """Neither is it in a text of a library, in whatever form that quotes the URL.

    Without the mask it is.
    """
    if not masked:
        monkeypatch.setattr(proxy, "hide", lambda _secret: None)
    clean({"HTTPS_PROXY": value})
    texts = (
        value,
        f"Only http proxies are supported: {value}",
        "invalid literal for port: 'w0rd@127.0.0.1:3128'",
        "Proxy-Authorization: Basic YnVpbGRlcjp3MHJk",
    )
    shown = json.dumps(mask_known_secrets(list(texts)))
    assert ("w0rd" in shown or "YnVpbGRlcjp3MHJk" in shown) is not masked
    assert "http proxies are supported" in shown


def test_what_a_call_fails_at_says_no_password(monkeypatch):
    """A proxy that refuses: the error of the library has host and port only."""
    monkeypatch.setenv("http_proxy", "builder:w0rd@127.0.0.1:9")

    async def call():
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientError) as failed:
                await session.get("http://git.example/", **find_proxy("http://git.example/"))
        return repr(failed.value), str(failed.value)

    for text in asyncio.run(call()):
        assert "w0rd" not in text
        assert "127.0.0.1" in text


def test_the_runner_and_libraries_get_the_better_written_value():
    """A scheme is added and quotes are removed; what is well written is passed on as it is."""
    given = {
        "HTTP_PROXY": "'u:w@h:1'",
        "https_proxy": "http://h:1/",
        "ALL_PROXY": '"socks5://h:2"',
        "PATH": "'/bin'",
        "ftp_proxy": "",
        "NO_PROXY": "a, b",
    }
    assert clean(given) == {"HTTP_PROXY": "http://u:w@h:1", "ALL_PROXY": "socks5://h:2"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"NO_PROXY": "a, b", "no_proxy": "b,c"}, "a,b,c"),
        ({"NO_PROXY": "*", "no_proxy": "a"}, "*"),
        ({"NO_PROXY": "'*'", "no_proxy": "*"}, "*"),
    ],
)
def test_hosts_of_both_spellings_are_merged(given, expected):
    """A tool reads one of them: each gets the hosts of both."""
    assert {**given, **clean(given)} == {"NO_PROXY": expected, "no_proxy": expected}


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [("*", "*"), (" * ", "*"), ("a, b", "a,b,x"), ("", "x"), ("*,a", "*,a,x")],
)
def test_the_host_for_every_host_stays_alone(hosts, expected):
    """Beside another entry it is no wildcard to curl, Python and botocore."""
    assert add_hosts(hosts, ["x"]) == expected


def test_libraries_read_the_same_within_the_block(monkeypatch):
    """After it the environment is as before."""
    monkeypatch.setenv("HTTP_PROXY", "h:1")
    monkeypatch.delenv("https_proxy", raising=False)
    with set_for_libraries({"HTTP_PROXY": "http://h:1", "https_proxy": "http://h:2"}):
        assert find_proxy("https://git.example")["proxy"] == "http://h:2"
        assert os.environ["HTTP_PROXY"] == "http://h:1"
    assert os.environ["HTTP_PROXY"] == "h:1"
    assert "https_proxy" not in os.environ


def test_names_of_proxies_are_recognised():
    """In upper and in lower case."""
    assert proxy.names_proxy(["PATH", "HTTPS_PROXY"])
    assert proxy.names_proxy(["all_proxy"])
    assert not proxy.names_proxy(["NO_PROXY"])
