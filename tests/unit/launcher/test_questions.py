"""`explain` and `status` as commands: options, settings, exit codes, standard output alone."""

import json

import pytest

from launcher import cli
from launcher.errors import Exit
from launcher.interruption import Interruption
from launcher.settings import QuestionSettings, load
from local import aws as stand_in

NOWHERE = {"AWS_REGION": stand_in.REGION}
TASK = "0123456789abcdef" * 2


@pytest.fixture(autouse=True)
def _credentials(monkeypatch):
    """Give dummy credentials, which the library reads by itself."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")


def run(capsys, *arguments, **settings):
    """Run a command; return its exit code, standard output and standard error."""
    environ = {f"LAUNCHER_{name.upper()}": value for name, value in settings.items()}
    code = cli.main(arguments, {**NOWHERE, **environ}, Interruption())
    printed = capsys.readouterr()
    return code, printed.out, printed.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("explain",), "required: JOB|TASK|RUNNER|URL"),
        (("explain", "a b"), "cannot explain 'a b'"),
        (("explain", "1", "--repository", "x"), "--repository must be owner/name"),
        (("explain", "1", "--key", "x"), "unrecognized arguments"),
        (("status",), "LAUNCHER_TABLE is missing"),
        (("status", "--every", "soon"), "--every must be seconds"),
        (("status", "--every", "0"), "--every must be from 1 s"),
        (("status", "--listen", ":1"), "unrecognized arguments"),
    ],
)
def test_each_mistake_is_said_before_anything_is_asked(capsys, arguments, words):
    """As with all commands: exit code 11, and a line on standard error."""
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (Exit.SETTINGS, "")
    assert words in err


def test_no_setting_is_needed_to_explain_and_a_credential_is_checked_if_there_is_one():
    """What is not set is not asked."""
    settings, _ = load({}, {}, QuestionSettings)
    assert not settings.asks_github
    both = {"LAUNCHER_GITHUB_PAT": "ghp_canary", "LAUNCHER_GITHUB_APP_ID": "1"}
    with pytest.raises(Exception, match="LAUNCHER_GITHUB_PAT contradicts"):
        load({}, both, QuestionSettings)


def test_a_log_alone_is_enough_for_a_story(capsys, tmp_path, monkeypatch):
    """AWS refuses everything, which is said; the file tells the cause."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("launcher.explain.gathering.PATIENCE", 0.5)
    file = tmp_path / "log"
    fact = {"event": "life.failed", "level": "error", "reason": "no token"}
    file.write_text(json.dumps({**fact, "timestamp": "2026-01-02T03:04:05Z"}))
    code, out, _ = run(capsys, "explain", TASK, "--log", str(file))
    assert code == 0, out
    assert "first failing line: agent: the agent failed: no token" in out
    assert "2026-01-02 (UTC)" in out
    code, out, _ = run(capsys, "explain", TASK, "--log", str(file), "--json")
    assert json.loads(out)["cause"]["text"] == "the agent failed: no token"
    code, out, err = run(capsys, "explain", TASK, "--log", str(tmp_path / "none"))
    assert code == Exit.SETTINGS
    assert "cannot read the log" in out + err


def test_what_nobody_knows_is_a_refusal(capsys, monkeypatch):
    """Exit code 12; it says what was not asked."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("launcher.explain.gathering.PATIENCE", 0.5)
    code, out, _ = run(capsys, "explain", "17")
    assert code == Exit.REFUSED
    assert "no source that was asked knows it" in out
    assert "set LAUNCHER_TABLE" in out


def test_status_off_a_terminal_is_one_plain_table(capsys, aws, monkeypatch, tmp_path):
    """With `--live` too: nobody could see it move."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws)
    pools = tmp_path / "pools.toml"
    pools.write_text('[[pool]]\nname = "small"\nlabels = ["small"]\ntask_definition = "runner"\n')
    given = {
        "table": stand_in.make_table(aws),
        "queue_url": stand_in.make_queues(aws).main,
        "pools": str(pools),
    }
    code, out, err = run(capsys, "status", "--live", **given)
    assert (code, err) == (0, "")
    assert "\x1b" not in out
    assert "small" in out
    assert "queue: 0 waiting, 0 in flight, 0 delayed" in out
    code, out, _ = run(capsys, "status", "--json", **given)
    assert json.loads(out)["pools"][0]["pool"] == "small"


def test_a_table_that_is_not_there_is_a_refusal(capsys, aws, monkeypatch):
    """There is nothing to tell without it; the line says which setting."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws)
    code, out, err = run(capsys, "status", table="none", log_format="json")
    assert (code, out) == (Exit.REFUSED, "")
    assert "there is no such table (LAUNCHER_TABLE)" in json.loads(err)["reason"]
