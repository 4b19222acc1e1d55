"""Which way a life comes to its right to register."""

import pytest
from pydantic import SecretStr

from sidecar import github, tokens
from sidecar.aws.secrets import SecretReader
from sidecar.errors import SettingsError
from sidecar.lifecycle import registration as sources
from sidecar.runner.configure import Registration, RegistrationRequest
from sidecar.runner.just_in_time import JustInTime
from sidecar.settings.model import Settings
from sidecar.shutdown.cleanup import CleanupStack
from sidecar.tokens.value import RegistrationToken
from tests.support.loops import run

URL = "https://github.com/o/r"
ASKER = SecretReader(None)
WISH = RegistrationRequest(URL, "T", "n", (), False, None, "_work")


def settings(**said):
    """Make settings; what needs no check here is not checked."""
    return Settings.model_construct(**{"github_url": URL} | said)


class Config:
    """A configuration, as far as a source needs it."""

    def __init__(self, **said):
        self.settings = settings(**said)


def test_without_a_credential_there_is_no_connection():
    """The token alone registers and removes."""
    assert sources.connection(Config(token_parameter="/t"), ASKER) is None


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({"github_pat": SecretStr("x")}, github.Pat),
        ({"github_app_id": "1", "github_app_key": SecretStr("x")}, github.App),
    ],
)
def test_a_credential_makes_a_connection(said, kind):
    """It asks where the setting says, as whom the settings say."""
    made = sources.connection(Config(**said), ASKER)
    assert made.url == URL
    assert isinstance(run("asyncio", sources._credential(settings(**said), ASKER)), kind)


def test_a_key_in_one_line_is_a_key():
    """Task definitions and .env files write line ends as two characters."""
    said = settings(github_app_id="1", github_app_key=SecretStr("a\\nb"))
    assert run("asyncio", sources._credential(said, ASKER))._key == "a\nb"


def test_half_an_app_is_no_credential():
    """The settings have refused that; nobody gets here."""
    with pytest.raises(SettingsError):
        run("asyncio", sources._credential(settings(github_app_id="1"), ASKER))


def test_the_parameter_comes_first():
    """A credential beside it serves the way out."""
    cleanup_stack, api = (
        CleanupStack(),
        sources.connection(Config(github_pat=SecretStr("x")), ASKER),
    )
    both = settings(token_parameter="/t", github_pat=SecretStr("x"))
    made = sources.source(both, tokens.Store(None), api, cleanup_stack)
    assert isinstance(made, tokens.TokenParameter)
    assert [cleanup_step.name for cleanup_step in cleanup_stack.steps] == ["token"]
    cleanup_stack = CleanupStack()
    alone = settings(github_pat=SecretStr("x"))
    assert isinstance(
        sources.source(alone, tokens.Store(None), api, cleanup_stack), tokens.MintedToken
    )
    assert cleanup_stack.steps == []


@pytest.mark.parametrize(
    ("right", "kind"),
    [
        (RegistrationToken(token="T"), Registration),
        (RegistrationToken(jit={".runner": b"{}"}, runner_id=1), JustInTime),
        (RegistrationToken(), JustInTime),
    ],
)
def test_the_right_tells_what_kind_of_runner_it_makes(root, right, kind):
    """Nothing is registered by that; the connection learns where the runner belongs."""
    api = sources.connection(Config(github_pat=SecretStr("x"), github_url=None), ASKER)
    made = sources.runner(root, WISH, {}, right, api, 1.0)
    assert isinstance(made, kind)
    assert made.exists == (right.jit is not None)
    assert api.url == URL


@pytest.fixture
def root(tmp_path):
    """Give a folder that is no runner's yet."""
    from sidecar.runner.folder import RunnerFolder

    return RunnerFolder(tmp_path, None)
