"""Read the variables of existing launchers as the agent's own settings.

A launcher is recognised by its variables, or named by SIDECAR_LAUNCHER. These functions are pure:
only `settings.load` reads the environment. To add a launcher, write a file with a Contract here
and add it to CONTRACTS; the choices of the setting follow from that.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sidecar import values
from sidecar.settings.contracts.cdk import CDK
from sidecar.settings.contracts.cmcs import CMCS
from sidecar.settings.contracts.contract import Contract, Draft
from sidecar.settings.contracts.ec2 import EC2
from sidecar.settings.contracts.fargate import FARGATE
from sidecar.settings.contracts.fleet import FLEET
from sidecar.settings.contracts.garo import GARO
from sidecar.settings.contracts.myoung34 import MYOUNG34
from sidecar.settings.contracts.pagopa import PAGOPA
from sidecar.settings.contracts.passeidireto import PASSEIDIRETO
from sidecar.settings.contracts.terraform import TERRAFORM

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CONTRACTS = (
    FARGATE,
    PASSEIDIRETO,
    MYOUNG34,
    CDK,
    FLEET,
    PAGOPA,
    CMCS,
    TERRAFORM,
    GARO,
    EC2,
)
AUTO, NATIVE = "auto", "native"


@dataclass(frozen=True, slots=True)
class Reading:
    """The settings that were read from a launcher's variables; empty without a launcher."""

    contract: str | None = None
    """The launcher's name."""
    mark: tuple[str, ...] = ()
    """The variables that it was recognised by."""
    settings: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The agent's settings, each as text; what the user set wins over them."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """The variable that each of them was read from."""
    withheld: frozenset[str] = frozenset()
    """The variables that jobs do not get."""
    ignored: tuple[str, ...] = ()
    """What the launcher asks for and the agent does not do."""
    problems: tuple[str, ...] = ()
    """What contradicts or is missing, one line each."""
    region: str | None = None
    """The AWS region, if the launcher says it."""
    quoted: tuple[str, ...] = ()
    """The variables whose values had quotes around them, which are left out."""


NO_LAUNCHER = Reading()


def check_choice(value: str) -> str:
    """Check the value of SIDECAR_LAUNCHER: auto, native, or the name of a contract."""
    choices = [AUTO, NATIVE, *(contract.name for contract in CONTRACTS)]
    if value not in choices:
        *first, last = [repr(choice) for choice in choices]
        message = f"must be {', '.join(first)} or {last}"
        raise ValueError(message)
    return value


def read_launcher(
    environ: Mapping[str, str],
    choice: str = AUTO,
    native: Mapping[str, str] | None = None,
    sources: Sequence[str] = (),
) -> Reading:
    """Find the launcher and read its variables.

    `choice` is SIDECAR_LAUNCHER. `native` are settings that the user gave; `sources` are the
    variables among them that bring a registration token. On a machine, `environ` also holds what
    the instance metadata service says, under its names: `instance-id`, `tags/instance/<key>`.
    """
    if choice == NATIVE:
        return NO_LAUNCHER
    env = {name: plain for name, value in environ.items() if (plain := values.strip_quotes(value))}
    reading = _read_any(env, choice, native or {}, sources)
    quoted = [name for name in env if values.has_quotes(environ[name])]
    return replace(reading, quoted=tuple(sorted(reading.withheld.intersection(quoted))))


def _read_any(
    env: Mapping[str, str], choice: str, native: Mapping[str, str], sources: Sequence[str]
) -> Reading:
    if choice != AUTO:
        return _read_chosen(choice, env, native, sources)
    found = find_contracts(env, last=not sources)
    if not found:
        return NO_LAUNCHER
    if len(found) > 1:
        return Reading(problems=(_contradiction(found, env),))
    return _read(found[0], env, native, sources)


def recognise_launcher(environ: Mapping[str, str], choice: str = AUTO) -> Reading:
    """Find the launcher whose command is supervised; its variables are not read, nor withheld."""
    env = {name: plain for name, value in environ.items() if (plain := values.strip_quotes(value))}
    found = [contract for contract in find_contracts(env) if choice in (AUTO, contract.name)]
    if len(found) != 1:
        return NO_LAUNCHER
    return Reading(contract=found[0].name, mark=found[0].mark(env))


def find_contracts(env: Mapping[str, str], *, last: bool = False) -> list[Contract]:
    """List the contracts whose variables are set; with `last`, those that come last if no other."""
    found = [contract for contract in CONTRACTS if contract.mark(env)]
    first = [contract for contract in found if not contract.last]
    return first or (found if last else [])


def _contradiction(found: Sequence[Contract], env: Mapping[str, str]) -> str:
    first, second = found[:2]
    # Variables that both have do not tell them apart.
    shared = set(first.mark(env)) & set(second.mark(env))
    one = ", ".join(name for name in first.mark(env) if name not in shared)
    other = ", ".join(name for name in second.mark(env) if name not in shared)
    return (
        f"{one} contradicts {other}: the first is of the launcher {first.name}, the other of "
        f"{second.name} (example: SIDECAR_LAUNCHER={first.name})"
    )


def _read_chosen(
    choice: str, env: Mapping[str, str], native: Mapping[str, str], sources: Sequence[str]
) -> Reading:
    contract = next((one for one in CONTRACTS if one.name == choice), None)
    if contract is None:
        return NO_LAUNCHER  # check_choice reports it
    if not contract.mark(env):
        problem = (
            f"SIDECAR_LAUNCHER={choice} contradicts what is set: that launcher sets "
            f"{contract.describe_marks()} (example: SIDECAR_LAUNCHER=auto)"
        )
        return Reading(problems=(problem,))
    return _read(contract, env, native, sources)


def _read(
    contract: Contract,
    env: Mapping[str, str],
    native: Mapping[str, str],
    sources: Sequence[str],
) -> Reading:
    mark = contract.mark(env)
    if sources:
        problem = (
            f"{mark[0]} contradicts {sources[0]}: both bring a registration token, the first one "
            f"from the launcher {contract.name} (example: SIDECAR_LAUNCHER=native)"
        )
        return Reading(problems=(problem,))
    draft = Draft(env, native.get("github_server"))
    contract.read(draft)
    # A name and a name's prefix exclude each other; the user's own setting wins.
    for given, other in (("name", "name_prefix"), ("name_prefix", "name")):
        if given in native:
            draft.settings.pop(other, None)
    missing = [text for name, text in draft.missing.items() if name not in native]
    return Reading(
        contract=contract.name,
        mark=mark,
        settings=draft.settings,
        variables=draft.variables,
        withheld=contract.names,
        ignored=tuple(draft.ignored),
        problems=(*draft.problems, *missing),
        region=draft.region,
    )
