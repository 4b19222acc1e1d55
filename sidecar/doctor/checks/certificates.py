"""Check which issuers of certificates are trusted, and whether GitHub's is one of them."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from sidecar import host
from sidecar.examination.finding import Finding, failed, ok, warning
from sidecar.examination.probe import NoAnswer, Trouble
from sidecar.net.trust import ADVICE

if TYPE_CHECKING:
    from sidecar.doctor.setup import Setup

OWN = {"SSL_CERT_FILE": "agent and runner"}
"""Variables that a life depends on, and who reads each."""
OF_JOBS = {
    "AWS_CA_BUNDLE": "agent and AWS's programs",
    "CURL_CA_BUNDLE": "agent and curl",
    "GIT_SSL_CAINFO": "git",
    "NODE_EXTRA_CA_CERTS": "agent and actions for node",
    "REQUESTS_CA_BUNDLE": "agent and programs of jobs",
}
"""Those that only add to what the agent trusts (`sidecar.net.trust`), or are jobs' alone."""


async def check(setup: Setup) -> list[Finding]:
    """Read the files of issuers, then see whether the servers' certificates are trusted."""
    found = await asyncio.to_thread(_check_files, setup)
    if not found and not await asyncio.to_thread(_has_issuers):
        text = "the system trusts no issuer of certificates, so the runner trusts none"
        found = [failed(text, "install ca-certificates in the image, or set SSL_CERT_FILE")]
    found += await _check_servers(setup)
    return found or [ok("the issuers of all certificates are trusted")]


def _check_files(setup: Setup) -> list[Finding]:
    found = []
    for name, reader in {**OWN, **OF_JOBS}.items():
        path = setup.variables.get(name)
        if path and (reason := _explain_file(Path(path), setup.config.user)):
            text = f"{name} (read by {reader}) names {path}: {reason}"
            say = failed if name in OWN else warning
            found.append(say(text, "mount a file of certificates in PEM form there, for all users"))
    return found


def _explain_file(path: Path, user: host.User | None) -> str:
    """Say why a file of issuers cannot be used; "" if it can."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
        if not host.may_read(path, user):
            return "the runner's user cannot read it"
    except ssl.SSLError:
        return "it holds no certificates in PEM form"
    except OSError as error:
        return host.explain_error(error)
    return ""


def _has_issuers() -> bool:
    if ssl.create_default_context().cert_store_stats()["x509_ca"]:
        return True
    folder = ssl.get_default_verify_paths().capath
    return folder is not None and any(Path(folder).iterdir())


async def _check_servers(setup: Setup) -> list[Finding]:
    """Connect to GitHub, with what all of the agent's calls trust."""
    url = await setup.find_github_url()
    if url is None or not url.startswith("https:"):
        return []
    try:
        await setup.ask(url)
    except NoAnswer as error:
        if error.trouble is Trouble.CERTIFICATE:
            change = f"{ADVICE}; if it has expired, see the line clock"
            return [failed(f"{url}: {error}", change)]
    return []
