"""The hosts that a runner needs, by the kind of its server."""

from sidecar.doctor.github_hosts import list_hosts


def names(url, *, needed=True):
    """Return the names of the hosts of that kind."""
    return {host.name for host in list_hosts(url) if host.needed is needed}


def test_github_com():
    """The site, the API, the services of Actions, the store of logs, the archives of actions."""
    assert names("https://github.com/octo/repo") == {
        "api.github.com",
        "broker.actions.githubusercontent.com",
        "codeload.github.com",
        "github.com",
        "pipelines.actions.githubusercontent.com",
        "productionresultssa0.blob.core.windows.net",
        "results-receiver.actions.githubusercontent.com",
        "vstoken.actions.githubusercontent.com",
    }


def test_a_server_with_data_residency():
    """Its own names; what it shares with github.com is not needed by every job."""
    url = "https://octo.ghe.com/octo"
    assert names(url) == {"octo.ghe.com", "api.octo.ghe.com", "codeload.octo.ghe.com"}
    assert "codeload.github.com" in names(url, needed=False)


def test_a_server_of_one_s_own():
    """All of it is below the site, with the site's port."""
    hosts = list_hosts("https://ghes.example.com:8443/octo/repo")
    assert {host.name for host in hosts} == {"ghes.example.com:8443"}
    assert "https://ghes.example.com:8443/_services/pipelines/_apis/health" in {
        host.url for host in hosts
    }
