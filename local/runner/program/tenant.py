"""The tenant flow of configure and remove: pools and agents of the service behind GitHub."""

from typing import Any

from . import locations
from .client import Client
from .codes import TerminatedError


class Tenant:
    """The service; `token` is what the exchange gave."""

    def __init__(self, client: Client, url: str, token: str) -> None:
        self._client, self._url, self._authorization = client, url, f"Bearer {token}"
        self._base = ""
        self._known = False

    def connect(self) -> None:
        """Find out where its calls go."""
        self._base = locations.find(self._client, self._url, self._authorization)

    def pools(self) -> list[dict[str, Any]]:
        """List the runner groups that a runner may be added to."""
        return list(self._call("GET", "pools?poolType=Automation")["value"])

    def agents(self, name: str) -> list[dict[str, Any]]:
        """List the runners of this name."""
        query = f"agentName={quote(name)}&includeCapabilities=False"
        return list(self._call("GET", f"pools/0/agents?{query}")["value"])

    def add(self, pool: int, agent: dict[str, Any]) -> dict[str, Any]:
        """Register a runner."""
        return dict(self._call("POST", f"pools/{pool}/agents", agent))

    def replace(self, pool: int, agent: dict[str, Any]) -> dict[str, Any]:
        """Register a runner in the place of another."""
        return dict(self._call("PUT", f"pools/{pool}/agents/{agent['id']}", agent))

    def delete(self, agent_id: object) -> None:
        """Take a runner off."""
        self._call("DELETE", f"pools/0/agents/{agent_id}")

    def _call(self, method: str, path: str, body: object = None) -> Any:
        if not self._known:
            self._must("OPTIONS", "_apis/")
            self._known = True
        return self._must(method, f"_apis/distributedtask/{path}", body)

    def _must(self, method: str, path: str, body: object = None) -> Any:
        url = f"{self._base}/{path}"
        response = self._client.ask(method, url, body, self._authorization)
        if not response.good:
            raise TerminatedError(response.message)
        return response.json() if response.text else None


def quote(text: str) -> str:
    """Escape a text for a query."""
    safe = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~"
    escaped = (chr(byte) if chr(byte) in safe else f"%{byte:02X}" for byte in text.encode())
    return "".join(escaped)
