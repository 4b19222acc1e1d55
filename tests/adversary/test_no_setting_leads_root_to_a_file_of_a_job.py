"""Hold: a file that a setting names is read bounded, and through no link that a job made.

The file may be in a folder of the runner's user. Unmended, it was opened by its whole path and
read to its end.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading

import pytest

from sidecar import host
from sidecar.aws import container_credentials
from sidecar.aws.container_credentials import Endpoint, UnavailableError
from sidecar.aws.secrets import SecretReader, read_secret
from sidecar.errors import TokenError
from sidecar.settings.given_files import read_session_policy
from tests.adversary.attackers import run_as_job
from tests.lives.stage import OTHER_USER

pytestmark = pytest.mark.root

BOTH = pytest.mark.parametrize("mended", [False, True], indirect=True, ids=["unmended", "mended"])
SECRET = '{"Statement":"of-root"}'
"""A text that every reader takes."""


def read_as_secret(path):
    """Read the file as the secret of a setting, which is the value of its only key."""
    reading = read_secret(f"file:{path}", "SIDECAR_GITHUB_PAT", SecretReader(None))
    return json.dumps({"Statement": asyncio.run(reading)}, separators=(",", ":"))


def read_as_policy(path):
    """Read it as a session policy."""
    return read_session_policy(f"file:{path}")


def read_as_token(path):
    """Read it as the token of an endpoint for credentials."""
    return container_credentials._authorization(Endpoint("http://127.0.0.1:9/", token_file=path))


READERS = pytest.mark.parametrize("read", [read_as_secret, read_as_policy, read_as_token])
REFUSED = (TokenError, ValueError, UnavailableError)


@pytest.fixture
def mended(request, monkeypatch):
    """Return whether the build has the mend."""
    if not request.param:
        monkeypatch.setattr(host, "read_given", lambda path, _most=0: path.read_bytes())
    return request.param


@pytest.fixture
def job(open_path):
    """Make a folder of the job's."""
    user = host.find_user(OTHER_USER)
    folder = open_path / "job"
    folder.mkdir()
    os.chown(folder, user.uid, user.gid)
    return folder


@READERS
@BOTH
@pytest.mark.parametrize("where", ["in its place", "on the way"])
def test_a_link_of_a_job_is_not_followed(job, mended, read, where):
    """Root would take a file that it alone may read for the setting's, and send it away."""
    secret = job.parent / "secret"
    secret.mkdir(mode=0o700)
    (secret / "file").write_text(SECRET)
    target, path = (secret / "file", "link") if where == "in its place" else (secret, "link/file")
    assert run_as_job(f"ln -s {target} link", job) == 0
    if mended:
        with pytest.raises(REFUSED):
            read(job / path)
    else:
        assert read(job / path) == SECRET


@READERS
@BOTH
def test_no_more_than_a_limit_is_read(job, mended, read):
    """A sparse file takes no room on the disk, and as much memory as its maker likes."""
    assert run_as_job(f"echo '{SECRET}' >file && truncate -s 32M zeros", job) == 0
    assert run_as_job("tr '\\0' '\\n' <zeros >>file", job) == 0
    if mended:
        with pytest.raises(REFUSED):
            read(job / "file")
    else:
        assert read(job / "file") == SECRET


@READERS
@BOTH
def test_a_pipe_is_not_waited_for(job, mended, read):
    """Its reader would wait until the job opens the other end."""
    assert run_as_job("mkfifo pipe", job) == 0
    if mended:
        with pytest.raises(REFUSED):
            read(job / "pipe")
        return
    found = []
    reader = threading.Thread(target=lambda: found.append(read(job / "pipe")))
    reader.start()
    assert run_as_job(f"echo '{SECRET}' >pipe", job) == 0  # opening it waits for the reader
    reader.join(60)
    assert found == [SECRET]
