"""Find where the service's calls go, and cache it under the user's `.config`.

The cache is believed when the service says that it is fresh: a user who can write it directs the
next bearer token (actions/runner, `LocationCacheManager`, `VssFileStorage`).
"""

import os
import re
from typing import Any

from . import system
from .client import Client
from .codes import TerminatedError

_ALL = "connectOptions=1&lastChangeId=-1&lastChangeId64=-1"
_NEWS = "connectOptions=0&lastChangeId=1&lastChangeId64=1"
_CONNECTIONS = 3  # one for calls, one for messages, one for jobs
_FILE = """\
<?xml version="1.0" encoding="utf-8"?>
<LocationServiceConfiguration>
  <LastChangeId>1</LastChangeId>
  <AccessMappings>
    <AccessMapping>
      <DisplayName>Host Guid Access Mapping</DisplayName>
      <Moniker>HostGuidAccessMapping</Moniker>
      <AccessPoint>{}</AccessPoint>
    </AccessMapping>
  </AccessMappings>
</LocationServiceConfiguration>
"""


def find(client: Client, url: str, authorization: str = "") -> str:
    """Ask the service where its calls go; gives the address. Raises UnreachableError."""
    url = url.rstrip("/")
    path = _cache(url)
    cached = _read(path)
    if cached:
        news = _ask(client, url, _NEWS, authorization, _CONNECTIONS)
        if news.get("clientCacheFresh"):
            return cached.rstrip("/")
    times = 2 * _CONNECTIONS if path else _CONNECTIONS
    found = _ask(client, url, _ALL, authorization, times)
    point = str(found["accessMappings"][0]["accessPoint"])
    _write(path, point)
    return point.rstrip("/")


def _ask(client: Client, url: str, query: str, authorization: str, times: int) -> dict[str, Any]:
    for _ in range(times):
        response = client.ask("GET", f"{url}/_apis/connectionData?{query}", None, authorization)
        if not response.good:
            raise TerminatedError(response.message)
    return dict(response.json()["locationServiceData"])


def remember(url: str, point: str) -> None:
    """Write down where the calls of the service at `url` go."""
    _write(_cache(url.rstrip("/")), point)


def _cache(url: str) -> str:
    """Give the cache file's path; "" where it cannot be written."""
    home = system.find_caches()
    if not os.access(home, os.W_OK):
        return ""
    folder = os.path.join(home, "GitHub", "ActionsService", "8.0", "Cache")
    mark = re.sub(r"\W+", "-", url)
    return os.path.join(folder, mark, "LocationServiceData.config")


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8-sig") as file:
            found = re.search(r"<AccessPoint>\s*(.*?)\s*</AccessPoint>", file.read())
    except (OSError, UnicodeDecodeError):
        return ""
    return found[1] if found else ""


def _write(path: str, point: str) -> None:
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(_FILE.format(point))
    except OSError:
        pass  # it works without
