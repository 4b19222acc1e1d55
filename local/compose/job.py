"""The job that the story queues: containers of four kinds ask AWS who they are.

No line of it says anything of AWS. Where AWS is stands in the base image that the job loads, since
this AWS is not where all the world looks for it.
"""

from __future__ import annotations

from local import aws
from local.demo.stage import REPOSITORY

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
"""The steps that start a container which tells who it is, and by which names."""


def wanted(images: str, sts: str, program: str, *, fail: bool) -> dict[str, object]:
    """Describe the job; its first step fails if it shall.

    `images` is the URL of a base image's archive, `sts` that of STS, `program` what asks it, as a
    JSON list.
    """
    told = {"AWS_REGION": aws.REGION, "AWS_DEFAULT_REGION": aws.REGION, "AWS_ENDPOINT_URL_STS": sts}
    steps = [{"name": "Fail", "run": 'echo "as was asked for"; exit 1'}] if fail else []
    steps.append({"name": "docker import", "run": LOADED})
    steps += [{"name": name, "run": run} for name, run in CONTAINERS.items()]
    return {
        "name": "build",
        "repository": REPOSITORY,
        "env": {
            "BASE_IMAGE": images,
            "PROGRAM": program,
            "WHERE_AWS_IS": " ".join(f"{name}={value}" for name, value in told.items()),
        },
        "steps": steps,
    }
