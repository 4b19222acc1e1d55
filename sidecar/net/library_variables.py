"""Set the variables that libraries read by themselves: proxies and certificates.

botocore reads the proxies of this process, and OpenSSL the place of its certificates. What the
agent knows better than its own environment, from the runner's file `.env` or without the quotes
of an env file, is set there, so that no library goes another way than the agent's own calls.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sidecar.net.proxy import is_proxy_variable
from sidecar.net.trust import is_trust_variable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def select(variables: Mapping[str, str]) -> dict[str, str]:
    """Return those of the variables that libraries read by themselves."""
    return {
        name: value
        for name, value in variables.items()
        if is_proxy_variable(name) or is_trust_variable(name)
    }


@contextmanager
def set_for_libraries(variables: Mapping[str, str]) -> Iterator[None]:
    """Set what libraries read of `variables` within the block, and put the old values back."""
    variables = select(variables)
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
