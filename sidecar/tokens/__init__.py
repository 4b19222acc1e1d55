"""Get the registration token: from an SSM parameter, the environment, or GitHub's API.

Each source has the same three methods: `wait` returns the token, `delete_soon` is called when it
has done its work, `is_usable` says whether GitHub still accepts it.
"""

from __future__ import annotations

from sidecar.tokens.given import GivenToken
from sidecar.tokens.launched import ConfiguredToken, MachineToken, Overrides
from sidecar.tokens.minted import MintedToken
from sidecar.tokens.parameter import TokenParameter, claim_parameter
from sidecar.tokens.ssm import ParameterStore
from sidecar.tokens.value import RegistrationToken

__all__ = [
    "ConfiguredToken",
    "GivenToken",
    "MachineToken",
    "MintedToken",
    "Overrides",
    "ParameterStore",
    "RegistrationToken",
    "TokenParameter",
    "claim_parameter",
]
