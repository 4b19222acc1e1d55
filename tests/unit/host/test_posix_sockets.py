"""Sockets and locks in the file system; the proxy's own tests play them, too."""

import os
import socket
import sys

import pytest

from sidecar import host

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX")


@pytest.mark.parametrize(
    ("mode", "who", "may"),
    [
        (0o660, "owner", True),
        (0o660, "group", True),
        (0o660, "groups", True),
        (0o666, "other", True),
        (0o660, "other", False),
        (0o606, "group", False),
        (0o066, "owner", False),
    ],
)
def test_who_may_use_a_socket(tmp_path, mode, who, may):
    """As the kernel decides it: by the first of owner, group and others that fits."""
    path = tmp_path / "s"
    path.touch()
    path.chmod(mode)
    status = path.stat()
    uid = status.st_uid if who == "owner" else status.st_uid + 1
    gid = status.st_gid if who == "group" else status.st_gid + 1
    groups = (status.st_gid,) if who == "groups" else ()
    assert host.may_use(path, host.Identity("x", uid, gid, groups, "/")) is may
    assert host.may_use(path, None) is os.access(path, os.W_OK)


@pytest.fixture
def pair():
    """Give two sockets that are joined, neither of which blocks."""
    one, other = socket.socketpair()
    with one, other:
        one.setblocking(False)
        other.setblocking(False)
        yield one, other


def test_a_closed_end_is_told_from_a_silent_one(pair):
    """Half-closed it still hears."""
    one, other = pair
    assert not host.hung_up(one)
    host.shut_writing(other)
    assert one.recv(1) == b""
    assert not host.hung_up(one)
    other.close()
    assert host.hung_up(one)
    host.shut_writing(one)  # no error, whatever the other end is


@pytest.mark.skipif(not hasattr(os, "splice"), reason="needs splice(2)")
def test_a_conduit_hands_over_what_came(pair):
    """As much as the target takes; the rest when it takes more, and nothing is lost."""
    one, other = pair
    source, entry = socket.socketpair()
    with source, entry:
        source.setblocking(False)
        entry.setblocking(False)
        conduit = host.conduit(1 << 16)
        with pytest.raises(BlockingIOError):
            conduit.fill(source, 1 << 16)
        sent = received = b""
        while True:
            piece = os.urandom(30_000)
            entry.send(piece)
            sent += piece
            assert conduit.fill(source, 1 << 16) == len(piece)
            if not conduit.drain(one):
                break
        assert conduit.filled
        while len(received) < len(sent):
            received += other.recv(1 << 16)
            conduit.drain(one)
        assert received == sent
        assert not conduit.filled
        entry.close()
        assert conduit.fill(source, 1) == 0
        conduit.close()


def test_nobody_is_dialled_where_nobody_listens(tmp_path):
    """The error says why."""
    with pytest.raises(FileNotFoundError):
        host.dialled(tmp_path / "none")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead"))
    with pytest.raises(ConnectionRefusedError):
        host.dialled(tmp_path / "dead")


def test_a_listener_that_cannot_be_leaves_nothing(tmp_path):
    """Neither at its place nor beside it."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="use"):
        host.listener(tmp_path / "folder", None, 1)
    with pytest.raises(FileNotFoundError):
        host.listener(tmp_path / "nowhere" / "s", None, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.root
def test_a_listener_is_root_s_and_its_user_s_group_may_use_it(tmp_path):
    """And nobody else."""
    user = host.Identity("x", 12345, 12346, (), "/")
    with host.listener(tmp_path / "s", user, 1):
        status = (tmp_path / "s").stat()
        assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (0, 12346, 0o660)
        assert host.may_use(tmp_path / "s", user)
