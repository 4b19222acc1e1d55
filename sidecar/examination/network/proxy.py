"""Check the proxy that the environment names: for what, how, and whether it lets through."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.errors import SettingsError
from sidecar.examination.finding import Finding, failed, ok, warning
from sidecar.examination.probe import NoAnswer, Trouble, show_proxy
from sidecar.net.proxy import find_proxy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sidecar.examination.surroundings import Surroundings

PAIRS = ("https_proxy", "http_proxy")
"""Of NO_PROXY and no_proxy a life makes one value."""
LINK_LOCAL = ("169.254.170.2", "169.254.169.254")
"""The ECS agent and the instance's metadata: no proxy may see requests to them."""


async def check(setup: Surroundings) -> list[Finding]:
    """Ask something by each proxy, and look at the variables for what surprises people."""
    relayed = setup.relays
    found = list(_list_surprises(setup.variables, relayed=relayed))
    by_proxy: dict[str, list[str]] = {}
    for url in await setup.list_urls():
        try:
            proxy = find_proxy(url).get("proxy")
        except SettingsError as error:
            return [*found, failed(str(error), "name an HTTP proxy as http://HOST:PORT")]
        if proxy is not None:
            by_proxy.setdefault(proxy, []).append(url)
    if not by_proxy:
        return [*found, ok("no proxy is between")]
    for proxy, urls in by_proxy.items():
        found.append(await _try(setup, proxy, urls))
    return found


async def _try(setup: Surroundings, proxy: str, urls: list[str]) -> Finding:
    shown = show_proxy(proxy)
    try:
        await setup.ask(urls[0])
    except NoAnswer as error:
        if error.trouble is Trouble.PROXY:
            change = "let the proxy pass this host, correct HTTPS_PROXY, or except it in NO_PROXY"
            return failed(f"cannot reach {urls[0]}: {error}", change)
    return ok(f"by the proxy {shown}: {', '.join(urls)}")


def _list_surprises(variables: Mapping[str, str], *, relayed: bool) -> Iterable[Finding]:
    """`relayed`: a life gives jobs the addresses of credentials in NO_PROXY itself."""
    for name in PAIRS:
        small, large = variables.get(name), variables.get(name.upper())
        if small is not None and large is not None and small != large:
            text = f"{name} and {name.upper()} differ: programs do not agree on which one counts"
            yield warning(text, "give both the same value, or leave one out")
    if not relayed and (variables.get("http_proxy") or variables.get("HTTP_PROXY")):
        excepted = variables.get("no_proxy") or variables.get("NO_PROXY") or ""
        missing = [address for address in LINK_LOCAL if address not in excepted and excepted != "*"]
        if missing:
            text = "some AWS SDKs of jobs send requests for credentials to the proxy (HTTP_PROXY)"
            yield warning(text, f"add {','.join(missing)} to NO_PROXY")
