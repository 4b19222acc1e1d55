"""The runner's folder: what is removed, written, saved and restored in it."""

import hashlib
import json
import os
import stat

import pytest
from structlog.testing import capture_logs

from sidecar import __version__, host
from sidecar.aws.instance_facts import InstanceFacts
from sidecar.aws.task_metadata import TaskFacts
from sidecar.errors import RunnerError
from sidecar.runner.folder import CONFIGURED, RunnerFolder

BOM = b"\xef\xbb\xbf"


def test_an_old_configuration_is_removed(root):
    """Configure refuses a configured folder; a job may have made the files read-only."""
    for name in (".runner", ".credentials"):
        (root.path / name).write_text("{}")
        (root.path / name).chmod(stat.S_IREAD)
    with capture_logs() as events:
        root.prepare()
    assert [(event["event"], sorted(event["stale"])) for event in events] == [
        ("runner.configuration_removed", [".credentials", ".runner"])
    ]
    assert sorted(path.name for path in root.path.iterdir()) == [".sidecar", "bin"]
    assert not root.is_configured


def test_links_in_an_old_configuration_are_removed(root):
    """Their targets stay."""
    kept = root.path / "kept"
    kept.write_text("kept")
    (root.path / ".credentials").symlink_to(kept)
    (root.path / ".credentials_migrated").symlink_to("nowhere")
    with capture_logs() as events:
        root.prepare()
    assert [(event["event"], sorted(event["stale"])) for event in events] == [
        ("runner.configuration_removed", [".credentials", ".credentials_migrated"])
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
    missing = tmp_path / "missing"
    assert str(failed.value).startswith(f"cannot prepare the runner's folder {missing}: ")
    assert "SIDECAR_RUNNER_DIR" in str(failed.value)


@pytest.mark.root
def test_as_root_the_folder_is_protected(root):
    """`bin` is root's, the folder sticky, and restored files are the user's."""
    nobody = host.find_user("nobody")
    os.chown(root.path / "bin", nobody.uid, nobody.gid)
    root.state.rmdir()  # no job was here yet
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
        (b"[" * 100_000, []),
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


def test_a_job_s_log_begins_with_the_machine(root):
    """What is not known is left out."""
    root.write_setup_info(InstanceFacts("i-1", type="m7i.large", life_cycle="spot"))
    (own,) = json.loads((root.path / ".setup_info").read_bytes())
    assert own["group"] == "EC2 instance"
    lines = ["Instance: i-1", "Type: m7i.large", "Life cycle: spot"]
    assert own["detail"].splitlines() == [*lines, f"Agent: runner-sidecar {__version__}"]


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


def test_a_configuration_is_believed_for_the_runner_that_it_names(root):
    """In whatever case; an invalid file, a folder or a link names none."""
    file = root.path / ".runner"
    assert not root.is_configured_as("build-1")
    file.write_bytes(BOM + b'{"AgentName": "Build-1"}')
    assert root.is_configured_as("build-1")
    assert not root.is_configured_as("build-2")
    for content in ("{", "[]", "{}", '{"agentName": null}', "[" * 100_000):
        file.write_text(content)
        assert not root.is_configured_as("")
        assert not root.is_configured_as("None")
    file.rename(root.path / "elsewhere")
    (root.path / "elsewhere").write_text('{"agentName": "build-1"}')
    file.symlink_to("elsewhere")
    assert not root.is_configured_as("build-1")


def test_a_configuration_is_set_aside(root):
    """The next configure finds none, and the copies still say which runner it was."""
    (root.path / ".runner").write_text('{"agentId": 7}')
    (root.path / ".credentials").write_text("{}")
    root.save_copies()
    assert root.set_aside() == [".runner", ".credentials"]
    assert not root.is_configured
    assert root.runner_id == 7
    assert root.set_aside() == []


def test_a_removed_runner_leaves_no_key_on_the_disk(root):
    """Not every way to deregister runs the runner's program, which would delete its files."""
    root.state_file.save_runner("build-1", unique=True)
    (root.path / ".credentials_rsaparams").write_text("{}")
    root.forget_runner()
    assert list(root.path.glob(".sidecar-memory*")) == []
    assert not (root.path / ".credentials_rsaparams").exists()


def test_whatever_a_job_put_in_place_of_a_file_is_removed(root):
    """Configure cannot write where a folder is, and fails after the registration."""
    (root.path / ".runner").mkdir()
    (root.path / ".runner" / "x").touch()
    (root.path / ".service").write_text("x")
    root.prepare()
    assert sorted(path.name for path in root.path.iterdir()) == [".sidecar", "bin"]


def own_user(home):
    """Return this process's user, with another home."""
    return host.User("me", os.getuid(), os.getgid(), (os.getgid(),), str(home))


@pytest.mark.root
def test_what_a_job_planted_in_the_home_is_gone_in_the_next_life(root, tmp_path):
    """Also in the home that `.env` names, and in XDG_CONFIG_HOME; links are not followed."""
    home, other, config = tmp_path / "home", tmp_path / "other", tmp_path / "config"
    folders = [home / ".config", other / ".config", config]
    for folder in folders:
        (folder / "GitHub/ActionsService/8.0/Cache").mkdir(parents=True)
    (root.path / ".env").write_text(f"HOME={other}\n")
    prepared = RunnerFolder(root.path, own_user(home))
    prepared.prepare({"HOME": "/root", "XDG_CONFIG_HOME": str(config)})
    assert [list((folder / "GitHub").iterdir()) for folder in folders] == [[], [], []]


@pytest.mark.root
def test_the_listener_s_home_has_a_folder_for_configurations(root, tmp_path):
    """It belongs to the runner's user."""
    nobody = host.find_user("nobody")
    user = host.User(nobody.name, nobody.uid, nobody.gid, nobody.groups, str(tmp_path))
    RunnerFolder(root.path, user).prepare()
    assert (tmp_path / ".config").stat().st_uid == nobody.uid


@pytest.mark.root
@pytest.mark.parametrize("name", [".env", ".path"])
@pytest.mark.parametrize("kind", ["file", "writable", "link", "folder"])
def test_an_environment_file_of_an_earlier_job_is_not_believed(root, name, kind):
    """As root, only what root alone can write is: the program obeys it before anything else."""
    nobody, file = host.find_user("nobody"), root.path / name
    if kind == "folder":
        file.mkdir()
    elif kind == "link":
        (root.path / "own").write_text("HOME=/forged")
        file.symlink_to("own")
    else:
        file.write_text("HOME=/forged")
        file.chmod(0o666 if kind == "writable" else 0o644)
    if kind == "file":
        os.chown(file, nobody.uid, nobody.gid)
    with capture_logs() as events:
        RunnerFolder(root.path, nobody).prepare()
    assert not os.path.lexists(file)
    assert events[0]["stale"] == [name]


@pytest.mark.root
def test_root_s_own_environment_file_stays_root_s(root):
    """Also where it was rewritten or restored meanwhile: the next life believes it again."""
    nobody, file = host.find_user("nobody"), root.path / ".env"
    host.write_new(file, b"A=1\nHOOK=x\n", 0o644, None)
    for _ in range(2):
        folder = RunnerFolder(root.path, nobody)
        folder.prepare()
        with folder.without_variables(["HOOK"]):
            assert file.read_text() == "A=1\n"
        folder.restore_copies()
        assert file.read_text() == "A=1\nHOOK=x\n"
        assert file.stat().st_uid == 0


@pytest.mark.root
def test_in_the_first_life_the_image_s_environment_file_is_believed(root):
    """Whoever owns it: no job was here yet. From then on it is root's."""
    nobody, file = host.find_user("nobody"), root.path / ".env"
    root.state.rmdir()
    host.write_new(file, b"A=1\n", 0o664, nobody)
    RunnerFolder(root.path, nobody).prepare()
    assert file.read_text() == "A=1\n"
    assert (file.stat().st_uid, stat.S_IMODE(file.stat().st_mode)) == (0, 0o644)
    RunnerFolder(root.path, nobody).prepare()
    assert file.exists()
