"""What .NET does: how its programs end, and how it opens what the agent has sealed."""

import base64
import json
import subprocess
import sys

import pytest

from sidecar import host
from tests.windows.native import powershell

UNHANDLED = 0xE0434352
PATIENCE = 120.0
AGENT = [sys.executable, "-m", "sidecar", "run", "--"]
PROGRAM = """
Add-Type -OutputType ConsoleApplication -OutputAssembly '{path}' -TypeDefinition @'
public static class Program {{ public static void Main() {{ throw new System.Exception("x"); }} }}
'@
"""
UNSEAL = """
Add-Type -AssemblyName System.Security
$sealed = [Convert]::FromBase64String('{sealed}')
$plain = [Security.Cryptography.ProtectedData]::Unprotect($sealed, $null, 'LocalMachine')
[Text.Encoding]::UTF8.GetString($plain)
"""
SEAL = """
Add-Type -AssemblyName System.Security
$plain = [Text.Encoding]::UTF8.GetBytes('{plain}')
$sealed = [Security.Cryptography.ProtectedData]::Protect($plain, $null, 'LocalMachine')
[Convert]::ToBase64String($sealed)
"""


@pytest.fixture(scope="module")
def thrower(tmp_path_factory):
    """Return a program of .NET that ends by an exception."""
    path = tmp_path_factory.mktemp("programs") / "thrower.exe"
    done = powershell.run(PROGRAM.format(path=path))
    assert path.exists(), done.stderr
    return path


def test_an_exception_s_exit_code_comes_through_the_agent(thrower):
    """All 32 bits of it, from the program to whoever started the agent."""
    done = subprocess.run(
        [*AGENT, thrower],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == UNHANDLED
    events = [json.loads(line) for line in done.stdout.splitlines() + done.stderr.splitlines()
              if line.startswith(b'{"')]  # fmt: skip
    (ended,) = [one for one in events if one["event"] == "command.ended"]
    assert ended["code"] == UNHANDLED


def test_the_runner_opens_the_keys_that_the_agent_sealed():
    """For a just-in-time configuration: the runner's own call, LocalMachine, without entropy."""
    sealed = base64.b64encode(host.seal_runner_key(b'{"d": "secret"}')).decode()
    assert powershell.run(UNSEAL.format(sealed=sealed)).stdout.strip() == '{"d": "secret"}'


def test_the_agent_opens_the_keys_that_the_runner_sealed():
    """To remove a runner, its own key is needed, which its configure step has sealed."""
    sealed = base64.b64decode(powershell.run(SEAL.format(plain="secret")).stdout)
    assert host.unseal_runner_key(sealed) == b"secret"
