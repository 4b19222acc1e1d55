"""`configure`."""

import os
import sys
from typing import Any

from . import agents, codes, keys, misbehaviour
from .arguments import Arguments
from .client import Client
from .dotcom import Dotcom
from .exchange import Exchange
from .misbehaviour import Misbehaviour
from .store import CREDENTIALS, KEY, SETTINGS, Store
from .tenant import Tenant
from .terminal import Terminal
from .wire import UnreachableError

_RULE = "-" * 80
_ALREADY = (
    "Cannot configure the runner because it is already configured. To reconfigure the runner, "
    "run 'config.cmd remove' or './config.sh remove' first."
)


def configure(root: str, arguments: Arguments, terminal: Terminal, knobs: Misbehaviour) -> int:
    """Register this root as a runner; gives the exit code."""
    try:
        _Configuration(Store(root), arguments, terminal, knobs).run()
    except (codes.TerminatedError, UnreachableError) as error:
        terminal.error(str(error))
        return codes.TERMINATED
    return codes.SUCCESS


class _Configuration:
    def __init__(
        self, store: Store, arguments: Arguments, terminal: Terminal, knobs: Misbehaviour
    ) -> None:
        self._store, self._arguments, self._terminal = store, arguments, terminal
        self._knobs, self._kind = knobs, knobs.read_kind("configure")
        self._client = Client(knobs)
        self._token = ""
        self._admin = False
        self._tenant = ""

    def run(self) -> None:
        """Go through it all. Raises TerminatedError, UnreachableError."""
        misbehaviour.leave(self._kind)
        self._greet()
        if self._store.has(SETTINGS):
            raise codes.TerminatedError(_ALREADY)
        self._terminal.section("Authentication")
        if self._kind == "hang":
            misbehaviour.hang()
        if self._kind == "fail-network":
            raise codes.TerminatedError("Resource temporarily unavailable (api.github.com:443)")
        self._knobs.dawdle("configure")
        service = self._connect()
        self._terminal.section("Runner Registration")
        group = self._group(service)
        self._terminal.line()
        key = keys.fresh()
        name, agent = self._register(service, group, keys.written(key))
        self._save(group, name, agent, keys.written(key))

    def _greet(self) -> None:
        terminal = self._terminal
        terminal.line()
        terminal.line(_RULE)
        terminal.line("|" + "Self-hosted runner registration".center(78) + "|")
        terminal.line(_RULE)

    def _connect(self) -> Any:
        url = self._require("url")
        exchange = Exchange(url, self._client, self._terminal, self._knobs)
        self._token = exchange.token(self._arguments, "register")
        granted = exchange.exchange(self._token, "register")
        self._admin, self._tenant = bool(granted.get("use_v2_flow")), str(granted["url"])
        service: Any
        if self._admin:
            service = Dotcom(exchange, self._token)
        else:
            service = Tenant(self._client, self._tenant, str(granted["token"]))
            service.connect()
        self._terminal.line()
        self._terminal.success("Connected to GitHub")
        return service

    def _require(self, name: str) -> str:
        value = self._arguments.option(name)
        if not value:
            reason = "Terminating unattended configuration."
            raise codes.TerminatedError(f"Invalid configuration provided for {name}. {reason}")
        return value

    def _group(self, service: Any) -> dict[str, Any]:
        wanted = self._arguments.option("runnergroup")
        for pool in service.pools():
            if pool["name"].lower() == wanted.lower() or (not wanted and pool["isInternal"]):
                return dict(pool)
        text = f'Could not find any self-hosted runner group named "{wanted}".'
        raise codes.TerminatedError(text)

    def _register(
        self, service: Any, group: dict[str, Any], key: dict[str, str]
    ) -> tuple[str, dict[str, Any]]:
        name = self._arguments.option("name") or agents.host()
        self._terminal.line()
        found = service.agents(name)
        if found or self._kind == "name-taken":
            self._terminal.line("A runner exists with the same name")
            if self._kind == "name-taken" or not self._arguments.flag("replace"):
                raise codes.TerminatedError(f"A runner exists with the same name {name}.")
            agent = agents.agent(name, self._arguments, key, found[0])
            given = self._replace(service, group, agent, key)
            self._terminal.success("Successfully replaced the runner")
        else:
            agent = agents.agent(name, self._arguments, key)
            arguments = (group["id"], agent, key) if self._admin else (group["id"], agent)
            given = dict(service.add(*arguments))
            self._terminal.success("Runner successfully added")
        return name, given

    def _replace(
        self, service: Any, group: dict[str, Any], agent: dict[str, Any], key: dict[str, str]
    ) -> dict[str, Any]:
        if self._admin:
            return dict(service.add(group["id"], agent, key, agent["id"]))
        return dict(service.replace(group["id"], agent))

    def _save(
        self, group: dict[str, Any], name: str, agent: dict[str, Any], key: dict[str, str]
    ) -> None:
        self._store.save(KEY, key)
        identity, server, v2 = agents.authorization(agent)
        data = {**identity, "requireFipsCryptography": "True"}
        self._store.save(CREDENTIALS, {"scheme": "OAuth", "data": data})
        if self._kind == "half":
            from .tree import strike

            strike(os.getpid())
        self._terminal.section("Runner settings")
        settings = {
            "isHostedServer": False,
            "agentId": agent["id"],
            "agentName": name,
            "poolId": group["id"],
            "poolName": group["name"],
            "disableUpdate": self._arguments.flag("disableupdate"),
            "ephemeral": self._arguments.flag("ephemeral"),
            "serverUrl": self._tenant,
            "gitHubUrl": self._arguments.option("url"),
            "workFolder": self._arguments.option("work") or "_work",
            "useV2Flow": v2,
            "useRunnerAdminFlow": self._admin,
            "serverUrlV2": server,
        }
        # As the real one: what is false is left out, but for the first.
        kept = {
            name: value for name, value in settings.items() if value or name == "isHostedServer"
        }
        self._store.save(SETTINGS, kept)
        self._terminal.line()
        self._terminal.success("Settings Saved.")
        self._terminal.line()
        if sys.platform != "win32":
            self._store.write_program(
                "svc.sh", "#!/bin/bash\n# Installs the runner as a service.\n"
            )
