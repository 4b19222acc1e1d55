"""The admin flow of configure and remove (`use_v2_flow`): REST calls with the token itself."""

from typing import Any

from .exchange import Exchange
from .tenant import quote

_KINDS = {"GET": "Get", "POST": "Post", "DELETE": "Delete"}


class Dotcom:
    """GitHub's REST, as the runner alone calls it."""

    def __init__(self, exchange: Exchange, token: str) -> None:
        self._exchange, self._token = exchange, token
        self._scope = f"{exchange.address.scope}/actions"

    def pools(self) -> list[dict[str, Any]]:
        """List the runner groups."""
        found = self._call("GET", f"{self._scope}/runner-groups")["runner_groups"]
        keys = ("id", "name")
        return [
            {**{key: each[key] for key in keys}, "isInternal": each.get("default", False)}
            for each in found
        ]

    def agents(self, name: str) -> list[dict[str, Any]]:
        """List the runners of this name."""
        return list(self._call("GET", f"{self._scope}/runners?name={quote(name)}")["runners"])

    def add(
        self, pool: int, agent: dict[str, Any], key: dict[str, str], replaced: int = 0
    ) -> dict[str, Any]:
        """Register a runner, or replace the one with the id `replaced`."""
        modulus, exponent = key["modulus"], key["exponent"]
        numbers = f"<Modulus>{modulus}</Modulus><Exponent>{exponent}</Exponent>"
        body = {
            "url": self._exchange.url,
            "group_id": pool,
            "name": agent["name"],
            "version": agent["version"],
            "updates_disabled": agent["disableUpdate"],
            "ephemeral": agent["ephemeral"],
            "labels": agent["labels"],
            "public_key": f"<RSAKeyValue>{numbers}</RSAKeyValue>",
        }
        if replaced:
            body.update(runner_id=replaced, replace=True)
        return dict(self._call("POST", "/actions/runners/register", body))

    def delete(self, runner_id: object) -> None:
        """Take a runner off."""
        self._call("DELETE", f"{self._scope}/runners/{runner_id}")

    def _call(self, method: str, path: str, body: object = None) -> Any:
        authorization = f"RemoteAuth {self._token}"
        response = self._exchange.call(method, path, body, authorization, _KINDS[method])
        return response.json() if response.text else None
