"""The proxy that the environment names."""

import pytest

from sidecar.net.proxy import find_proxy


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("https://api.github.com/x", "http://secure:3128"),
        ("http://git.example:8080/x", "http://plain:3128"),
        ("https://git.internal/x", None),
        ("https://", None),
    ],
)
def test_the_proxy_is_that_of_the_scheme(monkeypatch, url, proxy):
    """A host of NO_PROXY has none, nor has what is no URL."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("http_proxy", "http://plain:3128")
    monkeypatch.setenv("https_proxy", "http://secure:3128")
    monkeypatch.setenv("no_proxy", ".internal")
    assert find_proxy(url) == proxy
