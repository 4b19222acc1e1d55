"""`runner-sidecar health` against real sockets."""

import socket
import subprocess
import sys
import threading

import pytest

from sidecar import host
from sidecar.__main__ import main
from sidecar.cli import health
from sidecar.cli.health import check_health
from sidecar.settings import DEFAULT_RUNNER_DIRS, HEALTH_FILE


@pytest.fixture
def start_server():
    """Give a function that starts a server: it answers one connection with the given pieces."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        asked = []

        def answer(pieces):
            connection, _ = server.accept()
            with connection:
                asked.append(connection.recv(4096))
                for piece in pieces:
                    connection.sendall(piece)

        threads = []

        def start(*pieces):
            thread = threading.Thread(target=answer, args=(pieces,))
            thread.start()
            threads.append(thread)
            return f"127.0.0.1:{server.getsockname()[1]}", asked

        yield start
        for thread in threads:
            thread.join(10)


@pytest.mark.parametrize(
    ("pieces", "code"),
    [
        ([b"HTTP/1.1 200 OK\r\n\r\n{}"], 0),
        ([b"HTT", b"P/1.1 2", b"00 OK\r\n\r\n"], 0),
        ([b"HTTP/1.1 503 Service Unavailable\r\n\r\n"], 1),
        ([b"HTTP/1.1 2"], 1),
        ([], 1),
        ([b"SSH-2.0-something-else\r\n"], 1),
    ],
)
def test_only_200_is_healthy(start_server, pieces, code, monkeypatch):
    """With any other answer the container is not healthy."""
    monkeypatch.setattr(health, "DEADLINE", 60.0)
    address, asked = start_server(*pieces)
    assert check_health({"SIDECAR_HEALTH_ADDRESS": f" {address} "}) == code
    assert asked == [f"GET /healthz HTTP/1.0\r\nHost: {address}\r\n\r\n".encode()]


def test_no_agent_is_not_healthy(capsys):
    """The line on standard error names the address and the setting."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        assert check_health({"SIDECAR_HEALTH_ADDRESS": address}) == 1
    output = capsys.readouterr().err
    assert output.startswith(f"cannot reach the agent at {address} (SIDECAR_HEALTH_ADDRESS): ")


def test_an_agent_that_hangs_is_not_healthy(monkeypatch, capsys):
    """The check ends by itself, before ECS would kill it."""
    assert health.DEADLINE * 2 < 5
    monkeypatch.setattr(health, "DEADLINE", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        assert check_health({"SIDECAR_HEALTH_ADDRESS": address}) == 1
    assert "timed out" in capsys.readouterr().err


def test_a_wrong_address_is_not_healthy(capsys):
    """A mistake in the address is a line on standard error, not a traceback."""
    assert check_health({"SIDECAR_HEALTH_ADDRESS": "nonsense"}) == 1
    assert "nonsense" in capsys.readouterr().err


def test_off_is_healthy():
    """With the health server off, no container is replaced."""
    assert check_health({"SIDECAR_HEALTH_ADDRESS": "off"}) == 0


def test_without_a_setting_the_default_address_is_asked(monkeypatch):
    """Agent and check use the same default."""
    asked = []
    monkeypatch.setattr(health, "request_status", lambda *where: asked.append(where) or b"200")
    assert check_health({}) == 0
    assert check_health({"SIDECAR_HEALTH_ADDRESS": ""}) == 0
    assert asked == [("127.0.0.1", 9190, "127.0.0.1:9190")] * 2
    monkeypatch.setenv("SIDECAR_HEALTH_ADDRESS", "[::1]:9")
    assert main(["health"]) == 0
    assert asked[-1] == ("::1", 9, "[::1]:9")


def test_an_agent_that_took_another_port_is_asked_there(monkeypatch, tmp_path):
    """Unless an address is given: who gives one means that one."""
    asked = []
    monkeypatch.setattr(health, "request_status", lambda *where: asked.append(where[1]) or b"200")
    (tmp_path / HEALTH_FILE).write_text("127.0.0.1:4711\n")
    environ = {"SIDECAR_RUNNER_DIR": str(tmp_path)}
    assert check_health(environ) == check_health(environ, "127.0.0.1:1") == 0
    monkeypatch.setattr(health, "DEFAULT_RUNNER_DIRS", ("/missing", str(tmp_path)))
    assert check_health({}) == 0
    assert asked == [4711, 1, 4711]
    (tmp_path / HEALTH_FILE).write_bytes(b"\xff")
    assert check_health(environ) == 0
    assert asked[-1] == 9190


def test_quotes_of_an_env_file_are_no_part_of_an_address(monkeypatch, tmp_path):
    """The agent reads its settings without them, so the check asks the same place."""
    asked = []
    monkeypatch.setattr(health, "request_status", lambda *where: asked.append(where[1]) or b"200")
    quoted = {"SIDECAR_HEALTH_ADDRESS": '"127.0.0.1:9191"', "SIDECAR_RUNNER_DIR": f"'{tmp_path}'"}
    assert check_health(quoted) == 0
    (tmp_path / HEALTH_FILE).write_text("127.0.0.1:4711\n")
    assert check_health(quoted) == check_health({"SIDECAR_HEALTH_ADDRESS": "'off'"}) == 0
    assert asked == [9191, 4711]


def test_the_default_folders_are_those_of_the_agent():
    """The check does not ask which system this is."""
    assert host.DEFAULT_RUNNER_DIR in DEFAULT_RUNNER_DIRS


def test_it_imports_nothing_of_the_agent():
    """A check that runs every few seconds for hours must cost next to nothing."""
    program = (
        "import sys\n"
        "from sidecar.__main__ import main\n"
        "code = main(['health'])\n"
        "ours = sorted(name for name in sys.modules if name.startswith('sidecar'))\n"
        "heavy = {'asyncio', 'aiohttp', 'structlog', 'pydantic'} & set(sys.modules)\n"
        "print(code, ours, sorted(heavy))\n"
    )
    output = subprocess.run(
        [sys.executable, "-c", program],
        env={"SIDECAR_HEALTH_ADDRESS": "off"},
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    ).stdout
    assert output.strip() == (
        "0 ['sidecar', 'sidecar.__main__', 'sidecar.cli', 'sidecar.cli.health', "
        "'sidecar.defaults', 'sidecar.settings'] []"
    )
