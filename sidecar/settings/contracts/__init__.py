"""Launchers that people already have: their variables, read as the agent's own settings.

Pure functions from an environment to settings; the environment itself is read in `settings`
alone. A launcher is recognised by what is set, or named by SIDECAR_LAUNCHER.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sidecar.settings.contracts.cdk import CDK
from sidecar.settings.contracts.contract import Contract, Draft
from sidecar.settings.contracts.fargate import FARGATE
from sidecar.settings.contracts.myoung34 import MYOUNG34
from sidecar.settings.contracts.passeidireto import PASSEIDIRETO

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CONTRACTS = (FARGATE, PASSEIDIRETO, MYOUNG34, CDK)
AUTO, NATIVE = "auto", "native"


@dataclass(frozen=True, slots=True)
class Reading:
    """What came of looking for a launcher; empty where there is none."""

    contract: str | None = None
    mark: tuple[str, ...] = ()
    """The variables that it was recognised by."""
    settings: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The agent's settings, each as text; what the user set natively wins over them."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Which variable each of them was read from."""
    withheld: frozenset[str] = frozenset()
    """What is no business of a job's."""
    unheeded: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


NOBODY = Reading()


def read(
    environ: Mapping[str, str],
    wanted: str = AUTO,
    native: Mapping[str, str] | None = None,
    sources: Sequence[str] = (),
) -> Reading:
    """Find the launcher and read what it says.

    `wanted` is SIDECAR_LAUNCHER; `native` are settings that the user gave, and `sources` the
    variables among them that bring a right to register of their own. What contradicts is told in
    `problems`, a line each.
    """
    if wanted == NATIVE:
        return NOBODY
    env = {name: value.strip() for name, value in environ.items() if value.strip()}
    found = recognised(env)
    if wanted != AUTO:
        return _named(wanted, env, native or {}, sources)
    if not found:
        return NOBODY
    if len(found) > 1:
        return Reading(problems=(_two(found, env),))
    return _read(found[0], env, native or {}, sources)


def supervised(environ: Mapping[str, str], wanted: str = AUTO) -> Reading:
    """Tell whose command is supervised; its variables are its own, and it gets them all."""
    env = {name: value for name, value in environ.items() if value.strip()}
    found = [one for one in recognised(env) if wanted in (AUTO, one.name)]
    if len(found) != 1:
        return NOBODY
    return Reading(contract=found[0].name, mark=found[0].mark(env))


def recognised(env: Mapping[str, str]) -> list[Contract]:
    """List the contracts whose variables are set."""
    return [contract for contract in CONTRACTS if contract.mark(env)]


def _two(found: Sequence[Contract], env: Mapping[str, str]) -> str:
    first, second = found[:2]
    # What both go by does not tell them apart.
    shared = set(first.mark(env)) & set(second.mark(env))
    one = ", ".join(name for name in first.mark(env) if name not in shared)
    other = ", ".join(name for name in second.mark(env) if name not in shared)
    return (
        f"{one} contradicts {other}: the first is of the launcher {first.name}, the other of "
        f"{second.name} (example: SIDECAR_LAUNCHER={first.name})"
    )


def _named(
    wanted: str, env: Mapping[str, str], native: Mapping[str, str], sources: Sequence[str]
) -> Reading:
    contract = next((one for one in CONTRACTS if one.name == wanted), None)
    if contract is None:
        return NOBODY  # no such word: the setting's own check tells
    if not contract.mark(env):
        needs = " or ".join(" and ".join(mark) for mark in contract.marks)
        problem = (
            f"SIDECAR_LAUNCHER={wanted} contradicts what is set: that launcher sets {needs} "
            "(example: SIDECAR_LAUNCHER=auto)"
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
            f"{mark[0]} contradicts {sources[0]}: both bring a right to register, the first one "
            f"from the launcher {contract.name} (example: SIDECAR_LAUNCHER=native)"
        )
        return Reading(problems=(problem,))
    draft = Draft(env, native.get("github_server"))
    contract.read(draft)
    # A name and a name's beginning exclude each other; the user's own word counts.
    for given, other in (("name", "name_prefix"), ("name_prefix", "name")):
        if given in native:
            draft.settings.pop(other, None)
    return Reading(
        contract=contract.name,
        mark=mark,
        settings=draft.settings,
        variables=draft.variables,
        withheld=contract.names,
        unheeded=tuple(draft.unheeded),
        problems=tuple(text for name, text in draft.missing.items() if name not in native),
    )
