"""Access lists, as Windows itself reads them: where POSIX has modes."""

import getpass
import json

import pytest

from sidecar import host
from tests.windows.native import powershell

SYSTEM = "S-1-5-18"
READ_LIST = """
$list = Get-Acl -LiteralPath '{path}'
$rules = @($list.GetAccessRules($true, $true, [Security.Principal.SecurityIdentifier]) |
    ForEach-Object {{ $_.IdentityReference.Value }})
ConvertTo-Json -Compress @{{ closed = $list.AreAccessRulesProtected; who = $rules }}
"""


def read_list(path):
    """Return who may do anything with a file or folder, and whether it inherits nothing."""
    done = powershell.run(READ_LIST.format(path=path))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return set(found["who"]), found["closed"]


@pytest.fixture(scope="module")
def own_sid():
    """Return the identity of this process's user."""
    name = "[Security.Principal.WindowsIdentity]::GetCurrent().User.Value"
    return powershell.run(name).stdout.strip()


def test_a_secret_file_is_its_owner_s_alone(tmp_path, own_sid):
    """What has the mode 0600 elsewhere: its user and SYSTEM, and nothing from the folder above."""
    path = tmp_path / "secret"
    host.write_new(path, b"key", 0o600, None)
    who, closed = read_list(path)
    assert closed, "it inherits the rights of its folder"
    assert who == {own_sid, SYSTEM}
    assert path.read_bytes() == b"key"


def test_a_private_folder_is_its_owner_s_alone(tmp_path, own_sid):
    """And so is what is made in it later, by whichever program."""
    path = tmp_path / "private"
    host.make_private_folder(path)
    (path / "later").write_text("x")
    assert read_list(path) == ({own_sid, SYSTEM}, True)
    assert read_list(path / "later")[0] == {own_sid, SYSTEM}


def test_another_user_cannot_read_it(tmp_path):
    """Windows itself refuses: judged by a user that is made for it, and removed."""
    path = tmp_path / "secret"
    host.write_new(path, b"key", 0o600, None)
    name = "sidecar-other"
    script = f"""
$password = ConvertTo-SecureString ([guid]::NewGuid().ToString() + 'aA1!') -AsPlainText -Force
New-LocalUser -Name {name} -Password $password | Out-Null
try {{
    $login = New-Object Management.Automation.PSCredential "$env:COMPUTERNAME\\{name}", $password
    $job = Start-Job -Credential $login -ScriptBlock {{ [IO.File]::ReadAllText('{path}') }}
    $job | Wait-Job -Timeout 60 | Receive-Job
}} finally {{ Remove-LocalUser -Name {name} }}
"""
    done = powershell.run(script)
    assert "key" not in done.stdout
    assert "UnauthorizedAccess" in done.stderr or "denied" in done.stderr, done.stderr
    assert getpass.getuser() != name
