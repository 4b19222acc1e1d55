"""Read the answer that GitHub gives for a registration token, and check services' addresses."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sidecar.github.errors import TransientError
from sidecar.log import masks

if TYPE_CHECKING:
    from sidecar.github.service_call import ServiceAnswer

CLOUD_SERVICES = ".actions.githubusercontent.com"
"""Where github.com and GHE.com have their runner services (GitHub's page "Self-hosted runners
reference", section "Network")."""
URL = re.compile(
    r"https?://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(?::\d{1,5})?(?:/[\w.~%/-]*)?(?:\?[\w.~%/=&-]*)?",
    re.ASCII,
)
"""Only what every URL parser reads alike: no user, no backslash, no fragment."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """GitHub's answer to a registration token."""

    service_url: str
    """The tenant's URL, or the broker's; it ends without a slash."""
    token: str = field(repr=False)
    """The bearer token for the service (a JWT)."""
    use_v2_flow: bool
    """Whether runners are added and removed by REST (the admin flow)."""

    @classmethod
    def of(cls, answer: ServiceAnswer, scheme: str) -> Exchange:
        """Read `{url, token, use_v2_flow}`. Raises TransientError where one of them is not usable.

        The URL must have the settings' `scheme`: the bearer token is not sent in the clear.
        """
        fields = answer.fields
        url, token = fields.get("url"), fields.get("token")
        if (
            not isinstance(url, str)
            or not re.fullmatch(rf"{scheme}:[^?]*", url)
            or not URL.fullmatch(url)
        ):
            raise TransientError(f"cannot {answer.call}: GitHub's answer holds no url")
        if not isinstance(token, str) or not re.fullmatch(r"[!-~]+", token):
            raise TransientError(f"cannot {answer.call}: GitHub's answer holds no token")
        masks.hide(token)
        return cls(url.rstrip("/"), token, fields.get("use_v2_flow") is True)

    def agents(self, pool_id: int, path: str, query: str = "") -> str:
        """Write the URL of a pool's agents, in the API version that GitHub's open client uses."""
        base = f"{self.service_url}/_apis/distributedtask/pools/{pool_id}/agents"
        return f"{base}{path}?{query}api-version=6.0-preview"


def is_service_url(url: str, github_url: str, service_url: str | None = None) -> bool:
    """Check that `url` is an address of the GitHub in the settings.

    The URL must have the scheme of `github_url` (https, but for a loopback), and a host that is:
    - the host of `github_url`, or a name under it (`*.SUB.ghe.com`, subdomains of a GHES), or
    - for github.com and *.ghe.com a name under `actions.githubusercontent.com`, or
    - the host of `service_url`, the URL that an exchange gave to the caller itself.
    The port must be the scheme's own, or the one of `github_url` or `service_url`.
    """
    if not URL.fullmatch(url):
        return False
    asked, github = urlsplit(url), urlsplit(github_url)
    service = urlsplit(service_url or github_url)
    try:
        ports = {None, 443 if github.scheme == "https" else 80, github.port, service.port}
        near = asked.scheme == github.scheme and asked.port in ports
    except ValueError:  # a port above 65535
        return False
    return near and _is_service_host(
        asked.hostname or "", github.hostname or "", service.hostname or ""
    )


def _is_service_host(host: str, github: str, service: str) -> bool:
    base = "github.com" if github == "www.github.com" else github
    cloud = base == "github.com" or base.endswith(".ghe.com")
    return (
        host in (base, service)
        or host.endswith(f".{base}")
        or (cloud and host.endswith(CLOUD_SERVICES))
    )
