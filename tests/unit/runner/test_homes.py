"""What a job may have left in the runner's home is removed before the next listener reads it."""

import os

import pytest

from sidecar import host
from sidecar.runner import homes

CACHE = "GitHub/ActionsService/8.0/Cache/location.json"
STORE = ".dotnet/corefx/cryptography/x509stores/root/x.pfx"


def plant(path):
    """Write a file as a job would; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("planted")
    return path


def own_user(home):
    """Return this process's user, with another home."""
    return host.User("me", os.getuid(), os.getgid(), (os.getgid(),), str(home))


def test_cache_and_certificates_are_removed_and_nothing_else(tmp_path):
    """From HOME, from XDG_CONFIG_HOME and from where the client looks first."""
    home, config, data = tmp_path / "home", tmp_path / "conf", tmp_path / "data"
    planted = [
        plant(home / ".config" / CACHE),
        plant(home / STORE),
        plant(config / CACHE),
        plant(data / CACHE),
    ]
    kept = [plant(home / ".config/gh/hosts.yml"), plant(home / ".dotnet/tools/x")]
    env = {"HOME": str(home), "XDG_CONFIG_HOME": str(config), "localappdata": str(data)}
    homes.clean_home(env, None)
    assert [path for path in planted if path.exists()] == []
    assert all(path.exists() for path in kept)
    assert not (home / ".config/GitHub/ActionsService").exists()


@pytest.mark.parametrize("link", [".config", ".config/GitHub", ".config/GitHub/ActionsService"])
def test_a_link_is_removed_and_not_followed(tmp_path, link):
    """The listener would follow it; root must not remove what it leads to."""
    home, outside = tmp_path / "home", tmp_path / "outside"
    kept = [plant(outside / CACHE), plant(outside / "ActionsService/x"), plant(outside / "x")]
    (home / link).parent.mkdir(parents=True)
    (home / link).symlink_to(outside)
    homes.clean_home({"HOME": str(home)}, own_user(home))
    assert all(path.exists() for path in kept)
    assert not (home / link).is_symlink()
    assert not (home / ".config/GitHub/ActionsService").exists()


@pytest.mark.parametrize("before", ["nothing", "file", "folder"])
def test_the_home_has_a_folder_for_configurations(tmp_path, before):
    """Without it each call of the runner's program takes a second more."""
    config = tmp_path / ".config"
    if before == "file":
        config.write_text("x")
    elif before == "folder":
        plant(config / "kept")
    homes.clean_home({"HOME": str(tmp_path), "XDG_CONFIG_HOME": "relative"}, None)
    assert config.is_dir()
    assert (config / "kept").exists() == (before == "folder")


def test_a_home_that_is_missing_is_no_error(tmp_path):
    """A user without a home has no files there either."""
    homes.clean_home({"HOME": str(tmp_path / "missing")}, own_user(tmp_path))
    homes.clean_home({}, None)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_removed_is_an_error_only_for_root(tmp_path, monkeypatch):
    """An agent that is not root shares its user with jobs: they could keep it from starting."""

    def fail(*_):
        raise PermissionError

    monkeypatch.setattr(host, "remove_below", fail)
    homes.clean_home({"HOME": str(tmp_path)}, None)
    with pytest.raises(PermissionError):
        homes.clean_home({"HOME": str(tmp_path)}, own_user(tmp_path))
