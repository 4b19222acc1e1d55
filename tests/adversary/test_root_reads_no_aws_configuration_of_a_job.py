"""A job leaves AWS settings for the next agent on the disk: a root agent does not read them.

The agent of an image with `ENV HOME=/home/runner` looks for its settings in the runner's home.
"""

from __future__ import annotations

import asyncio
import json
import os

import pytest
from botocore.exceptions import BotoCoreError
from botocore.loaders import Loader
from structlog.testing import capture_logs

from sidecar import host
from sidecar.aws import own_session
from sidecar.aws.agent_credentials import AgentCredentials
from sidecar.aws.session import load_credentials

pytestmark = pytest.mark.root

KEYS = ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_DATA_PATH", "BOTO_CONFIG")
NOBODY = host.find_user("nobody")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Make the runner's home, root's and sticky as in the image; it is the root agent's too."""
    path = tmp_path / "home"
    path.mkdir()
    os.chown(path, 0, NOBODY.gid)
    path.chmod(0o1775)
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(path))
    monkeypatch.setattr(Loader, "CUSTOMER_DATA_PATH", str(path / ".aws" / "models"))
    own_session._log_refusal.cache_clear()
    return path


@pytest.fixture
def mended(request, monkeypatch):
    """Return whether the build has the mend; without it every session is the library's own."""
    if not request.param:
        monkeypatch.setattr(own_session.host, "is_root", lambda: False)
    return request.param


@pytest.fixture
def logged():
    """Return the events of a name that were logged so far."""
    with capture_logs() as lines:
        yield lambda name: [line for line in lines if line["event"] == name]


def give_to_job(*paths):
    """Make paths those of the job's user."""
    for path in paths:
        os.chown(path, NOBODY.uid, NOBODY.gid, follow_symlinks=False)


def write_attack(folder, name="config"):
    """Write settings with a program into `folder`; return them and what the program writes."""
    ran, program = folder / "ran-as", folder / "program"
    credentials = {"Version": 1, "AccessKeyId": "AKIAOFTHEJOB", "SecretAccessKey": "SECRET"}
    program.write_text(f"#!/bin/sh\nid -u >{ran}\necho '{json.dumps(credentials)}'\n")
    program.chmod(0o755)
    settings = folder / name
    settings.write_text(f"[default]\ncredential_process = {program}\n")
    return settings, ran


def find_credentials(session):
    """Return the id of the key that the session finds; None if it finds nothing."""

    async def find():
        try:
            await load_credentials(session)
        except BotoCoreError:
            return None
        return (await session.get_credentials()).access_key

    return asyncio.run(find())


@pytest.mark.parametrize("mended", [False, True], indirect=True, ids=["unmended", "mended"])
@pytest.mark.parametrize(
    "way",
    ["home", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "folder", "link", "other-name"],
)
def test_no_program_of_a_job_runs_as_root(home, monkeypatch, mended, way, logged):
    """Neither the home nor a variable leads root to a `credential_process` that a job wrote."""
    aws = home / ".aws"
    aws.mkdir()
    settings, ran = write_attack(aws)
    give_to_job(aws, settings)
    if way.startswith("AWS_"):
        settings = settings.rename(home / "settings")
        monkeypatch.setenv(way, str(settings))
    elif way == "folder":  # the file is root's, but the job can put another one in its place
        os.chown(settings, 0, 0)
    elif way == "link":  # both are root's; the link leads through the job's folder
        os.chown(settings, 0, 0)
        settings = settings.parent.parent / "linked"
        settings.symlink_to(aws / "config")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(settings))
    elif way == "other-name":  # a name in root's folder for a file that has one in the job's
        os.chown(settings, 0, 0)
        settings = home / "settings"
        settings.hardlink_to(aws / "config")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(settings))
    if mended:
        assert find_credentials(own_session.make_session()) is None
        assert not ran.exists()
        [refused] = logged("aws.configuration_refused")
        assert refused["path"] == str(settings)
    else:
        assert find_credentials(own_session.make_session()) == "AKIAOFTHEJOB"
        assert ran.read_text() == "0\n"


@pytest.mark.parametrize("mended", [False, True], indirect=True, ids=["unmended", "mended"])
def test_keys_of_a_job_are_not_the_agents(home, mended):
    """`~/.boto` would make the root agent read its token with the job's own keys."""
    boto = home / ".boto"
    boto.write_text("[Credentials]\naws_access_key_id = AKIAOFTHEJOB\naws_secret_access_key = S\n")
    give_to_job(boto)
    found = find_credentials(own_session.make_session())
    assert found == (None if mended else "AKIAOFTHEJOB")


@pytest.mark.parametrize("mended", [False, True], indirect=True, ids=["unmended", "mended"])
@pytest.mark.parametrize("way", ["models", "AWS_DATA_PATH"])
def test_no_description_of_a_job_directs_requests(home, monkeypatch, mended, way):
    """A service's rules for its endpoints are the library's own, whatever lies in the home."""
    data = home / ".aws" / "models" if way == "models" else home / "data"
    service = data / "ssm" / "2014-11-06"
    service.mkdir(parents=True)
    (service / "endpoint-rule-set-1.json").write_text('{"rules": "of the job"}')
    (service / "service-2.json").write_text("{}")
    give_to_job(service, *service.iterdir(), data)
    if way != "models":
        monkeypatch.setenv(way, str(data))
    loader = own_session.make_session().get_component("data_loader")
    rules = loader.load_service_model("ssm", "endpoint-rule-set-1")["rules"]
    assert (rules == "of the job") is not mended


def test_settings_that_are_roots_are_read(tmp_path, home, monkeypatch, logged):
    """An administrator's own settings, in folders of root's, work as before."""
    settings, ran = write_attack(tmp_path)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(settings))
    assert find_credentials(own_session.make_session()) == "AKIAOFTHEJOB"
    assert ran.read_text() == "0\n"
    assert logged("aws.configuration_refused") == []


def test_each_of_the_agents_sessions_is_guarded(home):
    """The agent's own credentials in the library's order, too: that order reads the files."""
    own = AgentCredentials(None, alone=False)
    assert type(own._session) is type(own_session.make_session())
    assert own._session.get_config_variable("config_file") == os.devnull
