"""Proxies and certificates in the runner's file `.env` are the agent's own, too."""

from __future__ import annotations

import os

import pytest

from sidecar import host
from sidecar.errors import SettingsError
from sidecar.lifecycle.network import network_variables
from sidecar.net import library_variables, proxy
from sidecar.net.proxy import find_proxy
from sidecar.runner.network_variables import read_network_variables
from sidecar.settings.load import load

FILE = (
    "LANG=C\nhttps_proxy='proxy.example:3128'\nno_proxy=.internal\n"
    "NODE_EXTRA_CA_CERTS=/etc/company.pem\nLD_PRELOAD=/x\n"
)


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Remove what this machine's own environment says about its network."""
    for name in [each for each in os.environ if library_variables.select({each: "x"})]:
        monkeypatch.delenv(name)


def configuration(root, environ):
    """Return what a life of this folder is started with."""
    (root.path / "bin" / host.LISTENER.name).touch()
    given = {
        "SIDECAR_TOKEN": "x" * 29,
        "SIDECAR_GITHUB_URL": "https://github.com/o/r",
        "SIDECAR_RUNNER_DIR": str(root.path),
        "SIDECAR_RUNNER_USER": host.agent_user_name(),
    }
    return load([], {**given, **environ})


def test_the_agent_s_calls_go_where_the_runner_s_go(root):
    """The file wins over the environment, as in the runner; libraries read the same."""
    (root.path / ".env").write_text(FILE)
    config = configuration(root, {"https_proxy": "http://other:1", "NO_PROXY": "intern"})
    with network_variables(config, root) as found:
        assert find_proxy("https://api.github.com") == {"proxy": "http://proxy.example:3128"}
        assert find_proxy("https://git.internal") == find_proxy("https://intern") == {}
        assert os.environ["NODE_EXTRA_CA_CERTS"] == "/etc/company.pem"
    assert found.passed_on["https_proxy"] == "http://proxy.example:3128"
    assert found.passed_on["no_proxy"] == found.passed_on["NO_PROXY"] == "intern,.internal"
    assert "LD_PRELOAD" not in found.passed_on
    assert "https_proxy" not in os.environ


def test_a_job_s_metadata_are_not_asked_through_the_file_s_proxy(root):
    """The listener would let the file win over the longer list: its lines are taken out of it."""
    (root.path / ".env").write_text(FILE)
    config = configuration(root, {})
    with network_variables(config, root) as found:
        names = library_variables.select(found.passed_on)
        with root.without_variables(names):
            assert (root.path / ".env").read_text() == "LANG=C\nLD_PRELOAD=/x\n"
    assert (root.path / ".env").read_text() == FILE
    assert proxy.names_proxy(found.passed_on)


@pytest.mark.root
def test_a_file_that_a_job_may_have_written_is_not_read(root):
    """Else it would lead the next life's calls, with their tokens, to an address of its own."""
    root.user = host.find_user("nobody")
    file = root.path / ".env"
    host.write_new(file, FILE.encode(), 0o664, root.user)
    assert read_network_variables(root) == {}
    root.state.rmdir()  # in the first life no job was here: it is the image's
    assert read_network_variables(root)["no_proxy"] == ".internal"


def test_a_proxy_of_the_file_that_is_none_is_named_with_the_file(root):
    """As one of the environment is, and without its password."""
    (root.path / ".env").write_text("HTTPS_PROXY=http://u:secret-word@\n")
    with pytest.raises(SettingsError, match="HTTPS_PROXY must be the URL") as failed:
        read_network_variables(root)
    assert str(root.path / ".env") in str(failed.value)
    assert "secret-word" not in str(failed.value)


def test_without_the_file_nothing_changes(root):
    """Nor with one that has other variables alone."""
    assert read_network_variables(root) == {}
    (root.path / ".env").write_text("LANG=C\n")
    assert read_network_variables(root) == {}
