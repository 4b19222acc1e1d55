"""The runner's folder: what is removed, written, saved and restored in it."""

import hashlib
import json
import os
import stat

import pytest
from structlog.testing import capture_logs

from sidecar import __version__, host
from sidecar.aws.task_metadata import TaskFacts
from sidecar.errors import RunnerError
from sidecar.runner.folder import CONFIGURED, RunnerFolder

BOM = b"\xef\xbb\xbf"


def test_an_old_configuration_is_removed(root):
    """Configure refuses a configured folder; links are removed, their targets stay."""
    kept = root.path / "kept"
    kept.write_text("kept")
    (root.path / ".runner").write_text("{}")
    (root.path / ".credentials").symlink_to(kept)
    (root.path / ".credentials_migrated").symlink_to("nowhere")
    with capture_logs() as events:
        root.prepare()
    assert [(event["event"], sorted(event["stale"])) for event in events] == [
        ("runner.configuration_removed", [".credentials", ".credentials_migrated", ".runner"])
    ]
    assert sorted(path.name for path in root.path.iterdir()) == [".sidecar", "bin", "kept"]
    assert not root.is_configured


def test_the_runner_s_docker_label_is_made_of_its_configuration(root):
    """As the runner makes it: of the text without its BOM, and never of what a job wrote later."""
    assert root.docker_label is None
    (root.path / ".runner").write_bytes(BOM + b"{}")
    root.save_copies()
    (root.path / ".runner").write_bytes(b"a job's")
    assert root.docker_label == hashlib.sha256(b"{}").hexdigest()[:6]


def test_a_folder_that_cannot_be_prepared_is_an_error(tmp_path):
    """The error has the system's reason, and names the setting."""
    with pytest.raises(RunnerError) as failed:
        RunnerFolder(tmp_path / "missing", None).prepare()
    assert str(failed.value).startswith(f"cannot prepare the runner's folder {tmp_path}/missing: ")
    assert "SIDECAR_RUNNER_DIR" in str(failed.value)


@pytest.mark.root
def test_as_root_the_folder_is_protected(root):
    """`bin` is root's, the folder sticky, and restored files are the user's."""
    nobody = host.find_user("nobody")
    os.chown(root.path / "bin", nobody.uid, nobody.gid)
    protected = RunnerFolder(root.path, nobody)
    protected.prepare()
    assert (root.path / "bin").stat().st_uid == 0
    assert stat.S_IMODE(root.path.stat().st_mode) == 0o1775
    (root.path / ".runner").write_text("x")
    protected.save_copies()
    protected.restore_copies()
    assert (root.path / ".runner").stat().st_uid == nobody.uid


@pytest.mark.parametrize(
    ("before", "kept"),
    [
        (None, []),
        (BOM + b'[{"group": "Image", "detail": "x"}]', [{"group": "Image", "detail": "x"}]),
        (b'[{"group": "ECS task", "detail": "old"}, 7]', []),
        (b"{}", []),
        (b'{"group": 1}', []),
        (b"7", []),
        (b"no json", []),
        (b"\xff", []),
    ],
)
def test_a_job_s_log_begins_with_the_task(root, before, kept):
    """The image's groups stay; the agent's group is replaced; invalid content is dropped."""
    info = root.path / ".setup_info"
    if before is not None:
        info.write_bytes(before)
    root.write_setup_info(TaskFacts("arn:task", "eu-central-1b", "FARGATE"))
    *others, own = json.loads(info.read_bytes())
    assert others == kept
    assert own["group"] == "ECS task"
    assert own["detail"].splitlines() == [
        "Task: arn:task",
        "Zone: eu-central-1b",
        "Launch type: FARGATE",
        f"Agent: runner-sidecar {__version__}",
    ]
    root.write_setup_info(TaskFacts())
    assert json.loads(info.read_bytes())[-1]["detail"] == f"Agent: runner-sidecar {__version__}"


def test_remove_obeys_the_files_of_configure_not_those_of_a_job(root):
    """Content and modes are restored, added files are removed, links are not followed."""
    (root.path / ".env").write_text("LANG=C\n")
    root.prepare()
    for name in CONFIGURED:
        host.write_new(root.path / name, BOM + name.encode(), 0o600, None)
    root.save_copies()

    victim = root.path / "victim"
    victim.write_text("kept")
    (root.path / ".runner").write_text("forged")
    (root.path / ".credentials").unlink()
    (root.path / ".credentials_rsaparams").unlink()
    (root.path / ".credentials_rsaparams").symlink_to(victim)
    (root.path / ".credentials_migrated").write_text("added")
    (root.path / ".env").write_text("HTTPS_PROXY=http://forged\n")
    (root.path / ".path").write_text("/forged")
    root.restore_copies()

    for name in CONFIGURED:
        assert host.read_regular(root.path / name) == (BOM + name.encode(), 0o600)
    assert (root.path / ".env").read_text() == "LANG=C\n"
    assert not (root.path / ".credentials_migrated").exists()
    assert not (root.path / ".path").exists()
    assert victim.read_text() == "kept"


def test_the_runner_s_own_environment_file_is_read(root):
    """KEY=VALUE, with a BOM, with `=` in a value; a line without a value is ignored."""
    assert root.read_environment_file() == {}
    (root.path / ".env").write_bytes(BOM + b"A=1\nB=x=y\nC=\nnonsense\n")
    assert root.read_environment_file() == {"A": "1", "B": "x=y"}
    (root.path / ".env").unlink()
    (root.path / ".env").mkdir()
    assert root.read_environment_file() == {}


def test_variables_are_removed_from_it_within_the_block(root):
    """The file wins over the environment; afterwards it is as it was."""
    env = root.path / ".env"
    content = BOM + b"A=1\nHOOK=/own.sh\nHOOKED=2"
    host.write_new(env, content, 0o640, None)
    with root.without_variables(["HOOK"]):
        assert host.read_regular(env) == (b"A=1\nHOOKED=2\n", 0o640)
    assert host.read_regular(env) == (content, 0o640)


@pytest.mark.parametrize("content", [None, b"A=1\n"])
def test_a_file_that_does_not_name_them_is_left_alone(root, content):
    """It is neither written nor made."""
    env = root.path / ".env"
    if content is not None:
        env.write_bytes(content)
        before = env.stat().st_ino
    with root.without_variables(["HOOK"]):
        assert env.exists() == (content is not None)
    if content is not None:
        assert env.stat().st_ino == before
