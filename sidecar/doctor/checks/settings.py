"""Check the settings, as a life reads them at its start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.examination.finding import Finding, failed, ok, warning
from sidecar.log import masks

if TYPE_CHECKING:
    from sidecar.doctor.setup import Setup
    from sidecar.settings.model import Configuration

CORRECT = "set what the line names; the reference lists every setting"


async def check(setup: Setup) -> list[Finding]:
    """List what is wrong with the settings, what was ignored, and which launcher was recognised."""
    config = setup.config
    found = [failed(problem, CORRECT) for problem in setup.problems]
    name = config.settings.token_parameter
    if name is not None and masks.has_secret_format(name):
        masks.hide(name)
        text = "SIDECAR_TOKEN_PARAMETER holds a token, and must be the name of a parameter"
        found.append(failed(text, "put the token into a parameter, and name that"))
    found += [warning(text, "correct its name, or leave it out") for text in config.warnings]
    found += _list_unheeded(config)
    if not setup.problems:
        found.append(ok(_describe(config)))
    return found


def _list_unheeded(config: Configuration) -> list[Finding]:
    return [
        warning(
            f"of the launcher {config.launcher.contract}: {text}", "leave it out, or live with it"
        )
        for text in config.launcher.ignored
    ]


def _describe(config: Configuration) -> str:
    given = len(config.settings.model_fields_set)
    launcher = config.launcher
    if launcher.contract is None:
        return f"{given} settings are set, no launcher's variables"
    return f"{given} settings; the launcher {launcher.contract}, by {', '.join(launcher.mark)}"
