"""Names of images in ECR."""

import pytest

from launcher.doctor.checks.image import IN_ECR

REGISTRY = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("name", "repository", "tag", "digest"),
    [
        (f"{REGISTRY}/runner", "runner", None, None),
        (f"{REGISTRY}/team/runner:1.2-dind", "team/runner", "1.2-dind", None),
        (f"{REGISTRY}/runner@{DIGEST}", "runner", None, DIGEST),
        (f"{REGISTRY}/runner:1@{DIGEST}", "runner", "1", DIGEST),
        (f"{REGISTRY}.cn/runner:1", "runner", "1", None),
    ],
)
def test_a_name_in_ecr_is_taken_apart(name, repository, tag, digest):
    """Account and region stand in the host's name."""
    found = IN_ECR.fullmatch(name)
    assert (found["account"], found["region"]) == ("123456789012", "eu-central-1")
    assert (found["repository"], found["tag"], found["digest"]) == (repository, tag, digest)


@pytest.mark.parametrize("name", ["runner:latest", "public.ecr.aws/a/b:1", "ghcr.io/a/b@sha256:0"])
def test_other_names_are_not(name):
    """Whether these exist is asked nowhere."""
    assert IN_ECR.fullmatch(name) is None
