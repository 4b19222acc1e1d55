"""Check that the images of the tasks exist, where they are in ECR."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from launcher.doctor.account import ECR, explain_unseen
from sidecar.aws.calls import AwsError
from sidecar.examination.finding import Finding, failed, ok, unknown

if TYPE_CHECKING:
    from launcher.doctor.setup import Setup

IN_ECR = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/"
    r"(?P<repository>[^:@]+)(?::(?P<tag>[\w.-]+))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


async def check(setup: Setup) -> list[Finding]:
    """Ask ECR for the image of each container."""
    images: dict[str, str] = {}
    for target in await setup.list_targets():
        definition = await setup.find_definition(target)
        for container in definition.containers.values() if definition is not None else ():
            images.setdefault(str(container.get("image", "")), target.name)
    return [await _check(setup, image, where) for image, where in images.items()]


async def _check(setup: Setup, image: str, where: str) -> Finding:
    parts = IN_ECR.fullmatch(image)
    if parts is None:
        text = f"{where}: whether {image} exists is not known: it is not in ECR"
        return unknown(text, "pull it from the tasks' network, or copy it to ECR")
    if parts["region"] != setup.account.region:
        return unknown(f"{where}: {image} is in another region", "look at it there")
    wanted = {"imageDigest": parts["digest"]} if parts["digest"] else {}
    try:
        answer = await setup.account.ask(
            ECR,
            "describe_images",
            registryId=parts["account"],
            repositoryName=parts["repository"],
            imageIds=[wanted or {"imageTag": parts["tag"] or "latest"}],
        )
    except AwsError as error:
        return explain_unseen(error, f"look for {image} in the console")
    if answer is None:
        text = f"{where}: there is no image {image}"
        return failed(text, "push it, or correct the task definition")
    return ok(f"{where}: the image {image} is there")
