"""Make the agent's AWS sessions, which read no configuration that a job may have written.

The library believes files: a `credential_process` in `~/.aws/config` is a program that it runs, a
file in `~/.aws/models` changes where it sends requests. Where the agent is root, and has a home or
variables that lead to a job's folder, a job could leave such files for the next life on the disk.
`~/.netrc` is read by no client here (`sidecar.net.proxy`).
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from aiobotocore.session import AioSession
from botocore.loaders import Loader

from sidecar import host

if TYPE_CHECKING:
    from botocore.credentials import CredentialResolver

log = structlog.get_logger()

FILES = {"config_file": "AWS_CONFIG_FILE", "credentials_file": "AWS_SHARED_CREDENTIALS_FILE"}
"""The library's names of its files, and the variables that name other ones."""
BOTO = "boto-config"
"""The provider that reads `~/.boto` and BOTO_CONFIG, the files of a library before this one."""


def make_session() -> AioSession:
    """Make a session of the AWS library; root's reads only files that are root's.

    Whatever the configuration says, STS is asked in the region, and not in us-east-1 for everybody.
    """
    session = _RootSession() if host.is_root() else AioSession()
    session.set_config_variable("sts_regional_endpoints", "regional")
    return session


class _RootSession(AioSession):  # type: ignore[misc]  # the library has no types
    """A session that reads a file only if root owns it and every folder above it.

    It knows AWS's services only from the library itself: neither AWS_DATA_PATH nor `~/.aws/models`
    is read.
    """

    def __init__(self) -> None:
        super().__init__()
        for name, variable in FILES.items():
            path = Path(self.get_config_variable(name)).expanduser()
            if not host.is_file_of_root(path):
                self.set_config_variable(name, os.devnull)
                if os.path.lexists(path) and str(path) != os.devnull:
                    _log_refusal(str(path), variable)

    def _register_data_loader(self) -> None:
        built_in = Loader(
            extra_search_paths=[Loader.BUILTIN_DATA_PATH], include_default_search_paths=False
        )
        self.register_component("data_loader", built_in)

    def _create_credential_resolver(self) -> CredentialResolver:
        resolver: Any = super()._create_credential_resolver()
        resolver.remove(BOTO)
        return resolver


@cache  # each of the agent's clients has a session
def _log_refusal(path: str, variable: str) -> None:
    log.warning(
        "aws.configuration_refused",
        path=path,
        reason="others than root can change it, or a folder above it",
        advice=f"give it and its folders to root alone, or name another file ({variable})",
    )
