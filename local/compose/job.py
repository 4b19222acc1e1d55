"""The job of the story: containers that are started in four ways ask AWS who they are.

The job itself knows nothing of AWS. The base image that it loads says where this AWS is, since it
is not at the usual addresses.
"""

from __future__ import annotations

from local import aws
from local.stage import REPOSITORY

LOADED = """\
curl --silent --show-error --fail "$BASE_IMAGE" |
  docker import --change "ENV $WHERE_AWS_IS" --change "ENTRYPOINT $PROGRAM" - base
"""
BUILT = """\
docker build --progress=plain --tag=app - 2>&1 <<END | sed -n 's/.*\\(I am .*\\)/\\1/p'
FROM base
RUN $PROGRAM
END
"""
COMPOSED = """\
echo '{"services": {"app": {"image": "app"}}}' | docker compose --file - run --rm app
"""
CONTAINERS = {
    "docker build": BUILT,
    "docker run": "docker run --rm app",
    "docker run, asking the instance": "docker run --rm app --instance",
    "docker compose run": COMPOSED,
}
"""The steps that start a container which prints who it is, by their names."""


def describe(images: str, sts: str, program: str, *, fail: bool) -> dict[str, object]:
    """Return the job as GitHub queues it; with `fail` its first step fails.

    `images` is the URL of the base image's archive, `sts` that of STS. `program` is the command
    that asks STS, as a JSON list.
    """
    aws_variables = {
        "AWS_REGION": aws.REGION,
        "AWS_DEFAULT_REGION": aws.REGION,
        "AWS_ENDPOINT_URL_STS": sts,
    }
    steps = [{"name": "Fail", "run": 'echo "as was asked for"; exit 1'}] if fail else []
    steps.append({"name": "docker import", "run": LOADED})
    steps += [{"name": name, "run": run} for name, run in CONTAINERS.items()]
    return {
        "name": "build",
        "repository": REPOSITORY,
        "env": {
            "BASE_IMAGE": images,
            "PROGRAM": program,
            "WHERE_AWS_IS": " ".join(f"{name}={value}" for name, value in aws_variables.items()),
        },
        "steps": steps,
    }
