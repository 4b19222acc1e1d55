"""`runner-sidecar health`, against real sockets."""

import socket
import subprocess
import sys
import threading

import pytest

from sidecar.__main__ import main
from sidecar.cli import health
from sidecar.cli.health import probe as well


@pytest.fixture
def answering():
    """Answer one connection with the given pieces; gives address and what was asked."""
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
def test_only_a_200_is_well(answering, pieces, code):
    """Whatever else answers at that address, the container is not well."""
    address, asked = answering(*pieces)
    assert well({"SIDECAR_HEALTH_ADDRESS": f" {address} "}) == code
    assert asked == [f"GET /healthz HTTP/1.0\r\nHost: {address}\r\n\r\n".encode()]


def test_no_agent_is_not_well(capsys):
    """The line on standard error says where it was looked for and by which setting."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        assert well({"SIDECAR_HEALTH_ADDRESS": address}) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"cannot reach the agent at {address} (SIDECAR_HEALTH_ADDRESS): ")


def test_an_agent_that_hangs_is_not_well(monkeypatch, capsys):
    """The check ends by itself, before ECS would end it."""
    assert health.DEADLINE * 2 < 5
    monkeypatch.setattr(health, "DEADLINE", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        assert well({"SIDECAR_HEALTH_ADDRESS": address}) == 1
    assert "timed out" in capsys.readouterr().err


def test_an_address_that_is_none_is_not_well(capsys):
    """A mistake in the address is told, not raised."""
    assert well({"SIDECAR_HEALTH_ADDRESS": "nonsense"}) == 1
    assert "nonsense" in capsys.readouterr().err


def test_off_is_well():
    """Who switched health off wants no container replaced for it."""
    assert well({"SIDECAR_HEALTH_ADDRESS": "off"}) == 0


def test_the_default_is_asked_when_nothing_is_said(monkeypatch):
    """Agent and probe agree on where, without a setting."""
    asked = []
    monkeypatch.setattr(health, "ask", lambda *where: asked.append(where) or b"200")
    assert well({}) == 0
    assert well({"SIDECAR_HEALTH_ADDRESS": ""}) == 0
    assert asked == [("127.0.0.1", 9190, "127.0.0.1:9190")] * 2
    monkeypatch.setenv("SIDECAR_HEALTH_ADDRESS", "[::1]:9")
    assert main(["health"]) == 0
    assert asked[-1] == ("::1", 9, "[::1]:9")


def test_it_imports_nothing_of_the_agent():
    """A check that runs every few seconds for hours is next to free."""
    program = (
        "import sys\n"
        "from sidecar.__main__ import main\n"
        "code = main(['health'])\n"
        "ours = sorted(name for name in sys.modules if name.startswith('sidecar'))\n"
        "heavy = {'asyncio', 'aiohttp', 'structlog', 'pydantic'} & set(sys.modules)\n"
        "print(code, ours, sorted(heavy))\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", program],
        env={"SIDECAR_HEALTH_ADDRESS": "off"},
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    ).stdout
    assert said.strip() == (
        "0 ['sidecar', 'sidecar.__main__', 'sidecar.cli', 'sidecar.cli.health', "
        "'sidecar.settings'] []"
    )
