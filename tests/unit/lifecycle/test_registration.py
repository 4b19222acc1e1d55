"""The source of the registration token, and the runner that it registers."""

import pytest
from pydantic import SecretStr

from sidecar import github, tokens
from sidecar.aws.secrets import SecretReader
from sidecar.errors import SettingsError, TokenError
from sidecar.lifecycle import registration
from sidecar.runner.configure import Registration
from sidecar.runner.just_in_time import JustInTimeRegistration
from sidecar.runner.registration_request import RegistrationRequest
from sidecar.settings.model import Settings
from sidecar.shutdown.cleanup import CleanupStack
from sidecar.tokens.value import RegistrationToken
from tests.support.loops import run

URL = "https://github.com/o/r"
SECRET_READER = SecretReader(None)
REQUEST = RegistrationRequest(URL, "T", "n", (), False, None, "_work")


def settings(**given):
    """Make settings without checking them."""
    return Settings.model_construct(**{"github_url": URL} | given)


def test_without_a_credential_there_is_no_connection():
    """The token alone registers and deregisters."""
    assert registration.make_connection(settings(token_parameter="/t"), SECRET_READER) is None


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"github_pat": SecretStr("x")}, github.Pat),
        ({"github_app_id": "1", "github_app_key": SecretStr("x")}, github.App),
    ],
)
def test_a_credential_makes_a_connection(given, kind):
    """To the URL of the setting, with the credential of the setting."""
    made = registration.make_connection(settings(**given), SECRET_READER)
    assert made.url == URL
    assert isinstance(
        run("asyncio", registration.read_credential(settings(**given), SECRET_READER)), kind
    )


def test_half_an_app_is_no_credential():
    """Loading the settings has refused that already."""
    with pytest.raises(SettingsError):
        run("asyncio", registration.read_credential(settings(github_app_id="1"), SECRET_READER))


def choose(given, api, cleanup_stack, *task_ids, machine_id=""):
    """Choose the source; `task_ids` are what the task metadata says, one call after another."""
    said = iter(task_ids)

    async def read_task_id():
        return next(said)

    store = tokens.ParameterStore(None)
    chosen = registration.choose_source(given, store, api, cleanup_stack, read_task_id, machine_id)
    return run("asyncio", chosen)


def test_the_task_s_own_id_names_its_parameter():
    """Where the launcher cannot know the id when it starts the task, the agent puts it in."""
    given = settings(token_parameter="/runners/{task}")
    parameter = choose(given, None, CleanupStack(), "", "0f3a")._parameter
    assert (parameter.name, parameter.for_task) == ("/runners/0f3a", True)


def test_a_whole_name_is_left_alone():
    """The task metadata is not asked, and a refusal of SSM stays final."""
    parameter = choose(settings(token_parameter="/t"), None, CleanupStack())._parameter
    assert (parameter.name, parameter.for_task) == ("/t", False)


def test_a_machine_s_own_name_may_be_written_out():
    """As a launcher writes it into a tag: a denial then means "not yet", as with {instance}."""
    for name, ids in (("/runners/{instance}", ("i-0f3a",)), ("/runners/i-0f3a", ())):
        given = settings(token_parameter=name)
        chosen = choose(given, None, CleanupStack(), *ids, machine_id="i-0f3a")
        assert (chosen._parameter.name, chosen._parameter.for_task) == ("/runners/i-0f3a", True)
    another = choose(settings(token_parameter="/i-1"), None, CleanupStack(), machine_id="i-0f3a")
    assert not another._parameter.for_task


def test_without_the_task_s_id_there_is_no_parameter():
    """The error says which setting needs it; nothing is to be deleted."""
    cleanup_stack = CleanupStack()
    with pytest.raises(TokenError, match=r"SIDECAR_TOKEN_PARAMETER has \{task\}"):
        choose(settings(token_parameter="/{task}"), None, cleanup_stack, "", "", "")
    assert cleanup_stack.steps == []


def test_a_launcher_s_configuration_is_for_the_machine_or_the_task():
    """The id is the setting's, or the task's own; a prefix counts only if the user set it."""
    machine = choose(settings(launch_config="/c", launch_id="i-1"), None, CleanupStack())
    assert isinstance(machine, tokens.ConfiguredToken)
    assert (machine._id, machine._overrides.name_prefix) == ("i-1", "")
    cleanup_stack = CleanupStack()
    named = settings(launch_config="/c", name_prefix="build-", runner_user="ubuntu")
    task = choose(named, None, cleanup_stack, "", "0f3a")
    assert (task._id, task._overrides.name_prefix) == ("0f3a", "build-")
    assert task._overrides.runner_user == "ubuntu"
    assert [cleanup_step.name for cleanup_step in cleanup_stack.steps] == ["token"]
    with pytest.raises(TokenError, match="SIDECAR_LAUNCH_ID is missing"):
        choose(settings(launch_config="/c"), None, CleanupStack(), "", "", "")


def test_a_machine_s_id_alone_names_three_parameters():
    """They are deleted in one step, which exists before anything is read."""
    cleanup_stack = CleanupStack()
    source = choose(settings(launch_id="i-1"), None, cleanup_stack)
    assert isinstance(source, tokens.MachineToken)
    assert source.name == "i-1_AgentToken"
    assert [cleanup_step.name for cleanup_step in cleanup_stack.steps] == ["token"]


def test_the_parameter_is_preferred():
    """A credential beside it deregisters the runner."""
    cleanup_stack, api = (
        CleanupStack(),
        registration.make_connection(settings(github_pat=SecretStr("x")), SECRET_READER),
    )
    both = settings(token_parameter="/t", github_pat=SecretStr("x"))
    made = choose(both, api, cleanup_stack)
    assert isinstance(made, tokens.TokenParameter)
    assert [cleanup_step.name for cleanup_step in cleanup_stack.steps] == ["token"]
    cleanup_stack = CleanupStack()
    alone = settings(github_pat=SecretStr("x"))
    assert isinstance(
        choose(alone, api, cleanup_stack),
        tokens.MintedToken,
    )
    assert cleanup_stack.steps == []


@pytest.mark.parametrize(
    ("token", "kind"),
    [
        (RegistrationToken(token="T"), Registration),
        (RegistrationToken(jit={".runner": b"{}"}, runner_id=1), JustInTimeRegistration),
        (RegistrationToken(), JustInTimeRegistration),
    ],
)
def test_the_token_decides_how_the_runner_is_registered(folder, token, kind):
    """By configure or just in time; the connection gets the URL of the runner."""
    api = registration.make_connection(
        settings(github_pat=SecretStr("x"), github_url=None), SECRET_READER
    )
    made = registration.make_runner(folder, REQUEST, {}, token, api, 1.0)
    assert isinstance(made, kind)
    assert made.exists == (token.jit is not None)
    assert api.url == URL


def test_the_runner_services_get_the_token_and_the_saved_copies(folder):
    """A job that writes into the folder changes nothing: the copies are older."""
    (folder.path / ".runner").write_text('{"agentId": 7}')
    folder.save_copies()
    (folder.path / ".runner").write_text('{"agentId": 8}')
    service = registration.make_runner_service(folder, REQUEST, lambda: True)
    assert service.usable_token == "T"
    assert service._read_identity().runner_id == 7
    assert registration.make_runner_service(folder, REQUEST, lambda: False).usable_token is None


@pytest.fixture
def folder(tmp_path):
    """Give an empty runner folder."""
    from sidecar.runner.folder import RunnerFolder

    return RunnerFolder(tmp_path, None)
