"""SIDECAR_ECR_REGISTRIES: hosts of ECR, or off; anything else is named, and exit code 11."""

from __future__ import annotations

import pytest

from sidecar import values
from sidecar.errors import Exit, SettingsError
from sidecar.settings.load import load

OTHER = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"


def read(tmp_path, value):
    """Return the setting as a life would have it."""
    environ = {} if value is None else {"SIDECAR_ECR_REGISTRIES": value}
    environ |= {"SIDECAR_RUNNER_DIR": str(tmp_path), "PATH": "/usr/bin"}
    return load(("--", "true"), environ).settings.ecr_registries


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (None, ()),
        (OTHER, (OTHER,)),
        (f" https://{OTHER.upper()}/ , public.ecr.aws,{OTHER}", (OTHER, "public.ecr.aws")),
        (f'["{OTHER}"]', (OTHER,)),
        ("off", None),
        ("OFF", None),
        (
            "111122223333.dkr.ecr-fips.us-east-1.amazonaws.com",
            ("111122223333.dkr.ecr-fips.us-east-1.amazonaws.com",),
        ),
        (
            "111122223333.dkr.ecr.cn-north-1.amazonaws.com.cn",
            ("111122223333.dkr.ecr.cn-north-1.amazonaws.com.cn",),
        ),
    ],
)
def test_registries_are_read(tmp_path, value, found):
    """As hosts, each once."""
    assert read(tmp_path, value) == found


@pytest.mark.parametrize(
    "value",
    [
        "docker.io",
        "true",
        "111122223333",
        f"{OTHER}/team/tool",
        f"{OTHER}:443",
        f"x.{OTHER}",
        "[1]",
    ],
)
def test_what_is_no_registry_of_ecr_is_named(tmp_path, value):
    """One line that names the setting; a helper for another registry would break its logins."""
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, value)
    (problem,) = caught.value.problems
    assert problem.startswith("SIDECAR_ECR_REGISTRIES ")
    assert caught.value.exit is Exit.SETTINGS


def test_the_value_may_be_a_list_already():
    """As a program gives it."""
    assert values.parse_registries([OTHER]) == (OTHER,)
