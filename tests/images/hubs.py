"""Serve GitHub to a task or an instance, by HTTPS, as the agent needs it."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import trustme

from local import github
from tests.engines.far import GATEWAY
from tests.images.building import there

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from local.github.world import World

GITHUB = f"https://{GATEWAY}"


class Trusted(NamedTuple):
    """The certificate of its issuer, as a container gets it."""

    volume: str
    """As `docker run --volume` wants it."""
    where: str = "/run/ca.pem"
    """The value of SSL_CERT_FILE."""


@asynccontextmanager
async def serve_github(folder: Path) -> AsyncIterator[tuple[World, Trusted]]:
    """Serve it at `GITHUB` within the block; the certificate is written to `folder`."""
    issuer = trustme.CA()
    issuer.cert_pem.write_to_path(str(folder / "ca.pem"))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    issuer.issue_cert(GATEWAY).configure_cert(tls)
    async with github.serving(GATEWAY, 443, tls=tls) as served:
        yield served.world, Trusted(f"{there(folder)}/ca.pem:{Trusted._field_defaults['where']}:ro")
