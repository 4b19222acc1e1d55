"""Who a job is: from the runner's variables, and for pull requests from its event file."""

import json
import os

import pytest

from sidecar.runner import job_identity
from sidecar.runner.job_identity import EVENT_FILE, OF_REPOSITORY, SENT, read_identity

BASE = {"id": 1, "full_name": "acme/app"}


@pytest.fixture
def work(tmp_path):
    """Give a runner's work folder with the folder of its event file."""
    folder = tmp_path / "_work"
    folder.joinpath(*EVENT_FILE[:-1]).mkdir(parents=True)
    return folder


def event(head=None, repository=None):
    """Make the event of a pull request."""
    head = {"id": 2, "full_name": "mallory/app"} if head is None else head
    return {"repository": repository or BASE, "pull_request": {"head": {"repo": head}}}


def read(work, content=None, **variables):
    """Read the identity of a pull request's job; `content` is its event."""
    path = work.joinpath(*EVENT_FILE)
    if content is not None:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    known = {
        "GITHUB_REPOSITORY": "acme/app",
        "GITHUB_REPOSITORY_ID": "1",
        "GITHUB_EVENT_NAME": "pull_request",
        "GITHUB_EVENT_PATH": str(path),
        "GITHUB_REF": "refs/pull/7/merge",
    }
    return read_identity(known | variables, work)


def test_a_pull_request_s_head_comes_from_its_event(work):
    """The variables do not tell it: a fork's branch may be called as ours."""
    found = read(work, event(), GITHUB_RUN_ID="5")
    assert (found.repository, found.head_repository) == ("acme/app", "mallory/app")
    assert (found.ref, found.run_id, found.actor) == ("refs/pull/7/merge", "5", None)
    assert found.to_facts() == {
        "repository": "acme/app",
        "repository_id": "1",
        "ref": "refs/pull/7/merge",
        "run_id": "5",
        "head_repository": "mallory/app",
        "event_name": "pull_request",
    }


def test_a_repository_is_known_by_its_number(work):
    """It may have got another name since the event was written."""
    renamed = {"id": 1, "full_name": "acme/old"}
    assert read(work, event(renamed, renamed)).head_repository == "acme/app"
    assert read(work, event(BASE), GITHUB_REPOSITORY_ID="").head_repository == "acme/app"


@pytest.mark.parametrize("name", sorted(OF_REPOSITORY))
def test_an_event_of_the_repository_needs_no_file(tmp_path, name):
    """Its commit is the repository's own; the event of a push may be as long as it likes."""
    found = read(tmp_path, GITHUB_EVENT_NAME=name, GITHUB_EVENT_PATH="")
    assert (found.head_repository, found.head_unknown) == ("acme/app", None)


@pytest.mark.parametrize("name", ["", "pull_requests", "brand_new"])
def test_of_an_event_that_is_not_known_nothing_is_known(work, name):
    """A new event of GitHub's may run for a fork's commit."""
    found = read(work, event(BASE), GITHUB_EVENT_NAME=name)
    assert found.head_repository is None
    assert found.head_unknown.endswith("is not known to this agent")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "No such file"),
        ("", "it is no JSON object"),
        ("[]", "it is no JSON object"),
        ("[" * 100_000, "it is no JSON object"),
        ("\udcff", "it is no JSON object"),
        ("{}", "it belongs to another repository"),
        (event(repository={"id": 3, "full_name": "a/b"}), "it belongs to another repository"),
        ({"repository": BASE}, "it names no head repository"),
        (event({}), "it names no head repository"),
        ({"repository": BASE, "pull_request": {"head": {"repo": None}}}, "it names no head"),
        (event({"id": 2, "full_name": ["acme/app"]}), "it names no head repository"),
        (event({"id": True, "full_name": 1}, {"id": True, "full_name": 1}), "it belongs to"),
    ],
)
def test_an_event_that_does_not_tell_the_head_says_why(work, content, why):
    """Then the head is not known, and no policy without forks admits the job."""
    if isinstance(content, str):
        work.joinpath(*EVENT_FILE).write_bytes(content.encode(errors="surrogateescape"))
        content = None
    found = read(work, content)
    assert found.head_repository is None
    assert found.head_unknown.startswith(f"its event cannot be read: {why}"), found.head_unknown


@pytest.mark.parametrize("kind", ["link", "folder-link", "second-name", "pipe", "folder", "long"])
def test_only_a_plain_file_is_read(work, kind, monkeypatch):
    """Root reads here what a job's user may have put there: nothing is followed, nothing hangs."""
    path, other = work.joinpath(*EVENT_FILE), work.parent / "other.json"
    other.write_text(json.dumps(event(BASE)))
    match kind:
        case "link":
            path.symlink_to(other)
        case "folder-link":
            path.parent.rmdir()
            elsewhere = work.parent / "elsewhere"
            elsewhere.mkdir()
            (elsewhere / path.name).write_text(other.read_text())
            path.parent.symlink_to(elsewhere)
        case "second-name":
            os.link(other, path)
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "long":
            path.write_text(other.read_text())
            monkeypatch.setattr(job_identity, "LONGEST_EVENT", 10)
    found = read(work)
    assert found.head_repository is None
    assert "its event cannot be read: " in found.head_unknown


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "event.json", "{tmp}/_temp/_github_workflow/event.json"]
)
def test_the_event_is_read_where_the_runner_writes_it_or_not_at_all(work, path):
    """A runner that writes it elsewhere must not be judged by an older file."""
    found = read(work, event(BASE), GITHUB_EVENT_PATH=path.format(tmp=work.parent))
    assert "GITHUB_EVENT_PATH is not _temp/_github_workflow/event.json" in found.head_unknown


def test_a_link_to_the_work_folder_is_the_work_folder(work):
    """An image may have one; the runner resolves it in what it tells the hook."""
    link = work.parent / "link"
    link.symlink_to(work)
    written = str(work.joinpath(*EVENT_FILE))
    assert read(link, event(BASE), GITHUB_EVENT_PATH=written).head_repository == "acme/app"


def test_facts_are_short_and_printable():
    """The names come from whoever wrote the workflow."""
    names = dict.fromkeys(SENT, "x\n\x1b[31m" + "y" * 1000)
    facts = read_identity(names | {"GITHUB_EVENT_NAME": "push"}, None).to_facts()
    assert facts["workflow"] == "x??[31m" + "y" * 248
    assert all(value.isprintable() and len(value) <= 255 for value in facts.values())
