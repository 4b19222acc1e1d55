"""HTTPS between the stand-ins for GitHub and for the runner's program, as compose.yaml has it."""

import asyncio
import os
import ssl
import subprocess

import trustme

from local import github
from local.github.scope import Scope
from local.runner import install

PATIENCE = 120.0


def story(tmp_path, tell):
    """Tell a story with a GitHub that speaks HTTPS; `tell` gets it, and what runs the program."""

    async def run():
        issuer = trustme.CA()
        issuer.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        issuer.issue_cert("127.0.0.1").configure_cert(tls)
        root = install(tmp_path / "runner")
        async with github.serving(tls=tls) as served:
            assert served.url.startswith("https://")

            async def call(*words, **env):
                child = await asyncio.create_subprocess_exec(
                    root / "bin" / "Runner.Listener",
                    *words,
                    env={**os.environ, **env},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                )
                printed, _ = await asyncio.wait_for(child.communicate(), PATIENCE)
                return child.returncode, printed.decode()

            await tell(served, call)

    asyncio.run(run())


def test_a_whole_job_goes_by_https(tmp_path):
    """Configured, listening, a job with its log: with who issued the certificate, and no more."""

    async def tell(served, call):
        world = served.world
        token = world.mint("registration", Scope.of_path("/repos/octo/demo")).value
        trusted = {"SSL_CERT_FILE": str(tmp_path / "ca.pem")}
        flags = ("--unattended", "--ephemeral", "--url", f"{served.url}/octo/demo", "--name", "one")
        code, printed = await call("configure", *flags, "--token", token, **trusted)
        assert code == 0, printed
        job = world.jobs.add({"steps": [{"run": "echo $GITHUB_SERVER_URL; seq 20000"}]}, 0)
        code, printed = await call("run", **trusted)
        assert (code, job.result) == (0, "succeeded"), printed
        assert f"{served.url}\n" in job.log()
        assert "\n20000\n" in job.log()

    story(tmp_path, tell)


def test_who_is_not_trusted_is_told_nothing(tmp_path):
    """Without the issuer the runner's program ends, and no request reaches GitHub."""

    async def tell(served, call):
        flags = ("--unattended", "--url", f"{served.url}/octo/demo", "--name", "one")
        code, printed = await call("configure", *flags, "--token", "secret")
        assert code == 1
        assert "certificate verify failed" in printed
        assert not served.world.calls

    story(tmp_path, tell)
