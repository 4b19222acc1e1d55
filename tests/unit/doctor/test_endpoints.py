"""The services of AWS that a life with these settings calls."""

import pytest
from pydantic import SecretStr

from sidecar.aws.calls import SECRETS_MANAGER, SSM, STS
from sidecar.aws.references import Reference
from sidecar.doctor.endpoints import list_references, list_services
from sidecar.settings.model import Settings

ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:pat-AbCdEf"
APP = {"github_app_id": "1", "github_app_key": SecretStr("ssm:/app/key")}


@pytest.mark.parametrize(
    ("given", "services"),
    [
        ({}, []),
        ({"token": "x" * 20}, []),
        ({"token_parameter": "/tokens/1"}, [SSM]),
        ({"launch_config": "/pool/config"}, [SSM]),
        ({"launch_id": "i-1"}, [SSM]),
        (APP, [SSM]),
        ({"github_pat": "secretsmanager:pat"}, [SECRETS_MANAGER]),
        ({"github_pat": "ghp_itself"}, []),
        ({"github_pat": f"{ARN}:key::"}, [SECRETS_MANAGER]),
        ({"github_pat": f"{ARN}:key:::more"}, []),
        ({"job_role_arn": "arn:aws:iam::123456789012:role/job"}, [STS]),
        ({"roles": '[default]\nrole = "task"'}, [STS]),
        ({"roles": "ssm:/roles"}, [SSM, STS]),
    ],
)
def test_only_what_a_setting_needs(given, services):
    """The network must not lead to more than that."""
    assert list_services(Settings(**given)) == services


def test_references_are_told_by_their_setting():
    """A secret that is given as it is, is none."""
    found = list_references(Settings(**APP))
    assert found == {"github_app_key": Reference("ssm", "/app/key")}
    assert list_references(Settings(github_pat="ghp_itself")) == {}
