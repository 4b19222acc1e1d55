"""Sockets that are files; the docker proxy's own tests use them too."""

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
def test_who_may_connect_to_a_socket(tmp_path, mode, who, may):
    """As the kernel decides: by the first of owner, group and others that fits."""
    path = tmp_path / "s"
    path.touch()
    path.chmod(mode)
    status = path.stat()
    uid = status.st_uid if who == "owner" else status.st_uid + 1
    gid = status.st_gid if who == "group" else status.st_gid + 1
    groups = (status.st_gid,) if who == "groups" else ()
    assert host.may_connect(path, host.User("x", uid, gid, groups, "/")) is may
    assert host.may_connect(path, None) is os.access(path, os.W_OK)


@pytest.fixture
def pair():
    """Give two connected sockets that do not block."""
    one, other = socket.socketpair()
    with one, other:
        one.setblocking(False)
        other.setblocking(False)
        yield one, other


def test_a_closed_end_differs_from_one_that_only_stopped_writing(pair):
    """A half-closed peer can still read."""
    one, other = pair
    assert not host.is_closed_by_peer(one)
    host.shut_down_writing(other)
    assert one.recv(1) == b""
    assert not host.is_closed_by_peer(one)
    other.close()
    assert host.is_closed_by_peer(one)
    host.shut_down_writing(one)  # no error, whatever the other end is


@pytest.mark.skipif(not hasattr(os, "splice"), reason="needs splice(2)")
def test_a_splice_pipe_carries_bytes(pair):
    """As much as the target takes; the rest when it takes more, and nothing is lost."""
    one, other = pair
    source, entry = socket.socketpair()
    with source, entry:
        source.setblocking(False)
        entry.setblocking(False)
        pipe = host.make_splice_pipe(1 << 16)
        with pytest.raises(BlockingIOError):
            pipe.fill(source, 1 << 16)
        sent = received = b""
        while True:
            piece = os.urandom(30_000)
            entry.send(piece)
            sent += piece
            assert pipe.fill(source, 1 << 16) == len(piece)
            if not pipe.drain(one):
                break
        assert pipe.filled
        while len(received) < len(sent):
            received += other.recv(1 << 16)
            pipe.drain(one)
        assert received == sent
        assert not pipe.filled
        entry.close()
        assert pipe.fill(source, 1) == 0
        pipe.close()


def test_connecting_without_a_listener_fails(tmp_path):
    """The error is the system's: no file, or refused."""
    with pytest.raises(FileNotFoundError):
        host.connect_to(tmp_path / "none")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead"))
    with pytest.raises(ConnectionRefusedError):
        host.connect_to(tmp_path / "dead")


def test_a_listener_that_fails_leaves_no_file(tmp_path):
    """Neither at its path nor beside it."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="use"):
        host.listen_at(tmp_path / "folder", None, 1)
    with pytest.raises(FileNotFoundError):
        host.listen_at(tmp_path / "nowhere" / "s", None, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.root
def test_a_listener_is_root_s_and_its_user_s_group_may_use_it(tmp_path):
    """No other user may."""
    user = host.User("x", 12345, 12346, (), "/")
    with host.listen_at(tmp_path / "s", user, 1):
        status = (tmp_path / "s").stat()
        assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (0, 12346, 0o660)
        assert host.may_connect(tmp_path / "s", user)
