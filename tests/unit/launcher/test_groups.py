"""Runner groups have names for people, and numbers for a just-in-time configuration."""

from types import SimpleNamespace

import pytest

from launcher.groups import find_group
from sidecar import github
from tests.support.loops import run


class Organization:
    """A connection to an organization that has more groups than one page holds."""

    def __init__(self, url="https://github.com/octo"):
        self.url = url
        self.paths = []

    async def api(self):
        """Return the API."""
        return self

    async def call(self, method, path, *, expects, tries):
        """List a page of groups."""
        assert (method, expects, tries) == ("GET", {200: None}, 1)
        self.paths.append(path)
        first = 1 if "&page=1" in path else 101
        last = 100 if first == 1 else 130
        groups = [{"id": number, "name": f"Group {number}"} for number in range(first, last + 1)]
        return SimpleNamespace(body={"runner_groups": groups})


@pytest.mark.parametrize(
    ("name", "number", "asked"),
    [(None, 1, 0), ("7", 7, 0), ("group 3", 3, 1), ("Group 120", 120, 2)],
)
def test_a_group_is_found_by_its_name(name, number, asked):
    """A number is one already; the default group is number 1."""
    connection = Organization()
    assert run("asyncio", find_group(connection, name)) == number
    assert len(connection.paths) == asked
    assert all(path.startswith("/orgs/octo/actions/runner-groups?") for path in connection.paths)


@pytest.mark.parametrize("url", ["https://github.com/octo", "https://github.com/octo/app"])
def test_a_group_that_cannot_be_is_refused_by_name(url):
    """The setting to change is in the error; repositories have no groups."""
    with pytest.raises(github.GitHubError, match=r"nobody.*runner_group"):
        run("asyncio", find_group(Organization(url), "nobody"))
