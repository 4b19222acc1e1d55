"""Callers of the API in the document of pools."""

import pytest

from launcher.pools.document import Problems, parse_pools

POOL = '[[pool]]\nname = "small"\nlabels = ["small"]\ntask_definition = "runner"\n'
ROLE = "arn:aws:iam::210987654321:role/x"
CALLER = '[[caller]]\nname = "octo"\nrepositories = [7]\npools = ["small"]\n'
GARO = (
    '[[garo]]\nname = "gov"\nrepositories = ["octo/app", "octo/lib-*"]\n'
    f'account = "210987654321"\nrole = "{ROLE}"\nexternal_id = "secret-1"\n'
    'types = { spot = "small" }\n'
)


def test_callers_are_read():
    """With their defaults."""
    pools = parse_pools(POOL + CALLER + GARO)
    (caller,), (garo,) = pools.callers, pools.garo
    assert (caller.name, caller.pools, caller.maximum, caller.account) == (
        "octo",
        ("small",),
        10,
        None,
    )
    assert caller.covers(7, 1)
    assert not caller.covers(8, 7)
    assert (garo.account.number, garo.account.role, garo.account.session) == (
        "210987654321",
        ROLE,
        3600,
    )
    assert garo.covers("Octo/App")
    assert garo.covers("octo/lib-a")
    assert not garo.covers("octo/other")
    assert not garo.covers("evil/octo/app")


def test_pools_that_callers_have_in_accounts_of_their_own_are_named():
    """One of a caller without an account is in the launcher's own."""
    account = f'account = "210987654321"\nrole = "{ROLE}"\nexternal_id = "secret-2"\n'
    second = POOL.replace("small", "large")
    assert parse_pools(POOL + CALLER).names_elsewhere == set()
    assert parse_pools(POOL + CALLER + account).names_elsewhere == {"small"}
    assert parse_pools(POOL + second + GARO).names_elsewhere == {"small"}


MISTAKES = [
    ('[[caller]]\nname = "a"\npools = ["small"]\n', "caller 'a': repositories: is required"),
    ('[[caller]]\nname = "a"\nowners = [1]\n', "caller 'a': pools: is required"),
    (CALLER.replace('"small"', '"none"'), "caller 'octo': pools: 'none' is none of the pools"),
    (CALLER.replace("[7]", '["octo/app"]'), "repositories: must be a list of whole numbers"),
    (CALLER.replace("[7]", "[true]"), "repositories: must be a list of whole numbers"),
    (CALLER + 'refs = ["main"]\n', "refs: 'main' must be a whole ref"),
    (CALLER + "maximum = 0\n", "maximum: must be a whole number from 1"),
    (CALLER + 'subnets = ["x"]\n', "subnets: 'x' must be the id of a subnet"),
    (CALLER + 'account = "1"\n', "account: must be the 12 digits"),
    (CALLER + f'role = "{ROLE}"\n', "external_id: is required"),
    (CALLER + 'pool = ["small"]\n', "pool: is no key here; did you mean pools?"),
    (CALLER + CALLER, "name: is used twice: octo"),
    (CALLER + GARO.replace('"gov"', '"octo"'), "garo 'octo': name: is used twice: octo"),
    (GARO.replace("secret-1", "a b"), "external_id: must be 2 to 1224"),
    (GARO.replace('account = "2', 'account = "3'), "is a role of the account 210987654321"),
    (GARO.replace("spot =", '"Spot!" ='), "types: 'Spot!' must be 1 to 20"),
    (GARO.replace('"small" }', '"none" }'), "types: 'spot' is none of the pools"),
    (GARO + 'session = "2h"\n', "session: must be a time"),
    (GARO + 'region = "Europe"\n', "region: must be a region"),
]


@pytest.mark.parametrize(("text", "line"), MISTAKES, ids=[line for _, line in MISTAKES])
def test_each_mistake_is_one_line(text, line):
    """It names the table and the key; the rest is read all the same."""
    found = parse_pools(POOL + text)
    assert isinstance(found, Problems)
    assert len([each for each in found.lines if line in each]) == 1, found.lines


def test_all_mistakes_are_said_at_once():
    """One line for each."""
    text = CALLER.replace("[7]", "[0]") + 'events = ["PUSH"]\n' + GARO.replace("secret-1", "x")
    found = parse_pools(POOL + text)
    assert len(found.lines) == 3, found.lines
