"""A container mounts the job's work folder, shared folders and volumes: nothing else.

A link on the way is refused, whoever made it, when a container is made and when it is started.
"""

from __future__ import annotations

import pytest

from sidecar.docker.bind_sources import BindSources
from sidecar.docker.rewriting import RequestRewriter
from tests.adversary.engine_requests import find_refusal, make_strict

CREATE = "POST /v1.41/containers/create"
MACHINE = ("/proc", "/proc/sys", "/sys", "/etc", "/dev", "/root", "/var/lib/docker", "/nowhere")


def make_body(source, **more):
    """Return a create request that mounts a folder."""
    return {"HostConfig": {"Binds": [f"{source}:/x"], **more}}


def check_sockets_only(_self, source, sockets, *, read_only=False):
    """Refuse only folders with a socket in them, as was once done."""
    return "a socket" if sockets.any_in_folder(source) else None


def unmend(monkeypatch):
    """Judge the folders as was once done."""
    monkeypatch.setattr(BindSources, "check", check_sockets_only)


@pytest.mark.parametrize("source", MACHINE)
@pytest.mark.parametrize("mended", [True, False], ids=["mended", "unmended"])
def test_folders_of_the_machine_are_refused(mended, source, tmp_path, monkeypatch):
    """Also by another spelling, as a mount, and in podman's form."""
    if not mended:
        unmend(monkeypatch)
    policy = make_strict(tmp_path)
    mount = {"Type": "bind", "Source": source, "Target": "/x", "ReadOnly": True}
    podman = {"mounts": [{"type": "bind", "source": source, "destination": "/x"}]}
    refusals = [
        find_refusal(policy, CREATE, make_body(source)),
        find_refusal(policy, CREATE, make_body(f"{tmp_path}/{'../' * 20}{source}")),
        find_refusal(policy, CREATE, {"HostConfig": {"Mounts": [mount]}}),
        find_refusal(policy, "POST /libpod/containers/create", podman),
    ]
    assert [one is not None for one in refusals] == [mended] * 4


def test_the_job_s_folders_and_volumes_are_mounted(tmp_path):
    """Also those that the engine makes, and the proxy's own socket."""
    (tmp_path / "there").mkdir()
    (tmp_path / "file").touch()
    policy = make_strict(tmp_path)
    for source in (
        *(tmp_path, tmp_path / "there", tmp_path / "there" / "not" / "yet", tmp_path / "file"),
        *("cache", "/var/run/docker.sock", "/shared/docker.sock"),
    ):
        assert find_refusal(policy, CREATE, make_body(source)) is None


@pytest.mark.parametrize("mended", [True, False], ids=["mended", "unmended"])
def test_a_link_on_the_way_is_refused(mended, tmp_path, monkeypatch):
    """At the end of the path, in its middle, and to a missing folder; root's own too."""
    if not mended:
        unmend(monkeypatch)
    (tmp_path / "root").symlink_to("/")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "nowhere").symlink_to("/nowhere")
    policy = make_strict(tmp_path)
    for name in ("root", "root/etc", "there/nowhere", "there/nowhere/below", "there/../root"):
        refused = find_refusal(policy, CREATE, make_body(tmp_path / name))
        assert (refused is not None) is (mended), name


@pytest.mark.parametrize("mended", [True, False], ids=["mended", "unmended"])
@pytest.mark.parametrize("verb", ["start", "restart"])
def test_a_link_laid_after_the_create_request_is_seen_at_the_start(
    verb, mended, tmp_path, monkeypatch
):
    """The engine mounts a container's folders when it starts it."""

    async def look_no_more(_self, _container):
        return None

    if not mended:
        monkeypatch.setattr(RequestRewriter, "_check_mounts", look_no_more)
    folder = tmp_path / "folder"
    folder.mkdir()
    policy = make_strict(tmp_path)
    body = make_body(folder)
    assert find_refusal(policy, CREATE, body) is None

    async def ask(path):
        assert path == "/containers/mine/json"
        return body

    policy.ask_engine = ask
    assert find_refusal(policy, f"POST /containers/mine/{verb}") is None
    folder.rmdir()
    folder.symlink_to("/")
    refused = find_refusal(policy, f"POST /containers/mine/{verb}")
    assert (refused is not None) is mended


def test_nothing_is_mounted_again_without_a_look(tmp_path):
    """The engine would start the container again by itself, after a link was laid."""
    policy = make_strict(tmp_path)
    restart = {"RestartPolicy": {"Name": "always"}}
    assert find_refusal(policy, CREATE, make_body(tmp_path, **restart))
    assert find_refusal(policy, CREATE, make_body("/shared/docker.sock", **restart)) is None
    assert find_refusal(policy, CREATE, make_body("cache", **restart)) is None


def test_of_the_shared_folder_no_agent_s_own_is_mounted(tmp_path):
    """Sockets and work folders of other tasks are there; the runner's program only to be read."""
    policy = make_strict(tmp_path / "runner-own" / "_work")
    sources = policy.bind_sources
    sources.shared, sources.private_names = str(tmp_path), ("runner-", ".runner-")
    sources.allow_reading(tmp_path / "agent" / "externals")

    def is_mounted(name, options=""):
        bind = f"{tmp_path}/{name}:/x{options}"
        return find_refusal(policy, CREATE, {"HostConfig": {"Binds": [bind]}}) is None

    assert is_mounted("cache")
    assert is_mounted("runner-own/_work/repo")
    assert is_mounted("agent/externals", ":ro")
    assert is_mounted("externals-0123", ":z,ro")
    assert not is_mounted("agent/externals")
    assert not is_mounted("externals-0123/node20", ":rw")
    assert not is_mounted("runner-own/created")
    assert not is_mounted("runner-other/_work")
    assert not is_mounted(".runner-other")
    assert not is_mounted("")
