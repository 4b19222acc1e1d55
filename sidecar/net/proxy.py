"""Find the proxy that the environment names for a URL.

aiohttp's own `trust_env` reads `~/.netrc` too. Where agent and job are one user, a job can write
there, and an entry for GitHub's host makes every call with an Authorization header fail.
"""

from __future__ import annotations

from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass


def find_proxy(url: str) -> str | None:
    """Return the proxy for `url` (HTTPS_PROXY, HTTP_PROXY, NO_PROXY); None if there is none."""
    parts = urlsplit(url)
    if parts.hostname is None or proxy_bypass(parts.hostname):
        return None
    return getproxies().get(parts.scheme)
