"""Start a container by a library, as a job's script does, without any setting for AWS or a proxy.

    python starters.py LIBRARY IMAGE VOLUMES ARGV...

VOLUMES are docker's (`/on/the/host:/in/it:ro`), as JSON. Prints the container's output. The library
finds the engine by its own rules.
"""

import asyncio
import json
import sys


def docker_sdk(image, volumes, argv):
    """Start it by the Docker SDK for Python."""
    import docker

    client = docker.from_env()
    try:
        return client.containers.run(image, argv, volumes=volumes, remove=True).decode()
    finally:
        client.close()


def aiodocker(image, volumes, argv):
    """Start it by aiodocker, the library for asyncio."""
    from aiodocker import Docker

    async def run():
        config = {"Image": image, "Cmd": argv, "HostConfig": {"Binds": volumes}}
        async with Docker() as client:
            container = await client.containers.run(config)
            try:
                await container.wait()
                return "".join(await container.log(stdout=True, stderr=True))
            finally:
                await container.delete(force=True)

    return asyncio.run(run())


def testcontainers(image, volumes, argv):
    """Start it by testcontainers, without its cleanup container: that image is not here."""
    from testcontainers.core.config import testcontainers_config
    from testcontainers.core.container import DockerContainer

    testcontainers_config.ryuk_disabled = True
    container = DockerContainer(image).with_command(argv)
    for volume in volumes:
        container.with_volume_mapping(*volume.split(":"))
    with container:
        container.get_wrapped_container().wait()
        out, errors = container.get_logs()
    return (out + errors).decode()


LIBRARIES = {
    "Docker SDK for Python": docker_sdk,
    "aiodocker": aiodocker,
    "testcontainers": testcontainers,
}

if __name__ == "__main__":
    library, image, volumes, *argv = sys.argv[1:]
    sys.stdout.write(LIBRARIES[library](image, json.loads(volumes), argv))
