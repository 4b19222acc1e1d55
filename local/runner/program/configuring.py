"""`configure`."""

import os
from typing import Any

from . import codes, misbehaviour, system
from .arguments import Arguments
from .misbehaviour import Misbehaviour
from .service import Service, quoted
from .store import CREDENTIALS, KEY, SETTINGS, Store
from .terminal import Terminal
from .wire import UnreachableError

_RULE = "-" * 80
_ALREADY = (
    "Cannot configure the runner because it is already configured. To reconfigure the runner, "
    "run 'config.cmd remove' or './config.sh remove' first."
)
_NO_LABELS = (
    "Disabling default labels via --no-default-labels without specifying --labels is not supported"
)


def configure(root: str, arguments: Arguments, terminal: Terminal, knobs: Misbehaviour) -> int:
    """Register this root as a runner; gives the exit code."""
    try:
        _configure(Store(root), arguments, terminal, knobs)
    except (codes.TerminatedError, UnreachableError) as error:
        terminal.error(str(error))
        return codes.TERMINATED
    return codes.SUCCESS


def _configure(store: Store, arguments: Arguments, terminal: Terminal, knobs: Misbehaviour) -> None:
    kind = knobs.asked("configure")
    misbehaviour.leave(kind)
    terminal.line()
    terminal.line(_RULE)
    terminal.line("|" + "Self-hosted runner registration".center(78) + "|")
    terminal.line(_RULE)
    if store.has(SETTINGS):
        raise codes.TerminatedError(_ALREADY)
    terminal.section("Authentication")
    if kind == "hang":
        misbehaviour.hang()
    if kind == "fail-network":
        raise codes.TerminatedError("Resource temporarily unavailable (api.github.com:443)")
    service = Service(_required(arguments, "url"), terminal, knobs)
    service.prove(service.token(arguments, "register"), "register")
    terminal.line()
    terminal.success("Connected to GitHub")
    terminal.section("Runner Registration")
    group = _group(service, arguments.option("runnergroup"))
    terminal.line()
    name = arguments.option("name") or system.host()
    secret = _secret()
    agent = _registered(service, arguments, terminal, group, name, secret, kind)
    _save(store, service, arguments, terminal, group, name, agent, secret, kind)


def _required(arguments: Arguments, name: str) -> str:
    value = arguments.option(name)
    if not value:
        reason = "Terminating unattended configuration."
        raise codes.TerminatedError(f"Invalid configuration provided for {name}. {reason}")
    return value


def _group(service: Service, wanted: str) -> dict[str, Any]:
    pools = service.call("GET", "pools")["value"]
    for pool in pools:
        if pool["name"].lower() == wanted.lower() or (not wanted and pool["isInternal"]):
            return dict(pool)
    text = f'Could not find any self-hosted runner group named "{wanted}".'
    raise codes.TerminatedError(text)


def _labels(arguments: Arguments) -> tuple[list[str], list[str]]:
    labels = []
    for label in arguments.option("labels").split(","):
        if len(label.strip()) > 256:
            reason = "Terminating unattended configuration."
            raise codes.TerminatedError(f"Invalid configuration provided for labels. {reason}")
        if label.strip() and label.strip() not in labels:
            labels.append(label.strip())
    if not arguments.flag("no-default-labels"):
        return ["self-hosted", system.name(), system.architecture()], labels
    if not labels:
        raise codes.TerminatedError(_NO_LABELS)
    return [], labels


def _secret() -> str:
    import binascii

    return binascii.b2a_base64(os.urandom(192), newline=False).decode()


def _registered(
    service: Service,
    arguments: Arguments,
    terminal: Terminal,
    group: dict[str, Any],
    name: str,
    secret: str,
    kind: str,
) -> dict[str, Any]:
    terminal.line()
    agents = f"pools/{group['id']}/agents"
    found = service.call("GET", f"{agents}?agentName={quoted(name)}")["value"]
    defaults, labels = _labels(arguments)
    body = {
        "name": name,
        "version": codes.VERSION,
        "os": system.name().lower(),
        "ephemeral": arguments.flag("ephemeral"),
        "disableUpdate": arguments.flag("disableupdate"),
        "systemLabels": defaults,
        "labels": labels,
        "publicKey": secret,
    }
    if found or kind == "name-taken":
        terminal.line("A runner exists with the same name")
        if kind == "name-taken" or not arguments.flag("replace"):
            raise codes.TerminatedError(f"A runner exists with the same name {name}.")
        agent = service.call("PUT", f"{agents}/{found[0]['id']}", body)
        terminal.success("Successfully replaced the runner")
    else:
        agent = service.call("POST", agents, body)
        terminal.success("Runner successfully added")
    return dict(agent)


def _save(
    store: Store,
    service: Service,
    arguments: Arguments,
    terminal: Terminal,
    group: dict[str, Any],
    name: str,
    agent: dict[str, Any],
    secret: str,
    kind: str,
) -> None:
    authorization = agent["authorization"]
    store.save(KEY, _key(secret))
    store.save(
        CREDENTIALS,
        {
            "scheme": "OAuth",
            "data": {
                "clientId": authorization["clientId"],
                "authorizationUrl": authorization["authorizationUrl"],
                "requireFipsCryptography": "True",
            },
        },
    )
    if kind == "half":
        from .tree import strike

        strike(os.getpid())
    terminal.success("Runner connection is good")
    terminal.section("Runner settings")
    settings = {
        "isHostedServer": False,
        "agentId": agent["id"],
        "agentName": name,
        "poolId": group["id"],
        "poolName": group["name"],
        "disableUpdate": arguments.flag("disableupdate"),
        "ephemeral": arguments.flag("ephemeral"),
        "serverUrl": service.tenant,
        "gitHubUrl": arguments.option("url"),
        "workFolder": arguments.option("work") or "_work",
    }
    # As the real one: what is false is left out, but for the first.
    kept = {key: value for key, value in settings.items() if value or key == "isHostedServer"}
    store.save(SETTINGS, kept)
    terminal.line()
    terminal.success("Settings Saved.")
    terminal.line()


def _key(secret: str) -> dict[str, str]:
    """Look like the parameters of a key; `d` is what GitHub knows this runner by."""
    import binascii

    sizes = {"dp": 128, "dq": 128, "inverseQ": 128, "modulus": 256, "p": 128, "q": 128}
    random = {
        name: binascii.b2a_base64(os.urandom(size), newline=False).decode()
        for name, size in sizes.items()
    }
    return {"d": secret, **random, "exponent": "AQAB"}
