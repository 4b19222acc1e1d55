"""What can be wrong between a task and the network: names, proxies, certificates, the clock."""

import ssl
from contextlib import asynccontextmanager
from email.utils import formatdate
from time import time
from urllib.parse import urlsplit

import pytest
import trustme

from local import faults, forward_proxy
from local.faults import Rule
from tests.doctor.plays import check, check_first
from tests.doctor.scene import HASTY, open_scene
from tests.lives.stage import run_side_by_side
from tests.support.namespace import in_namespace

CLOUD = "https://github.com/octo/repo"
HOSTS = (
    "api.github.com",
    "broker.actions.githubusercontent.com",
    "codeload.github.com",
    "github.com",
    "pipelines.actions.githubusercontent.com",
    "productionresultssa0.blob.core.windows.net",
    "results-receiver.actions.githubusercontent.com",
    "vstoken.actions.githubusercontent.com",
)
RESIDENCE = "https://octo.ghe.com/octo/repo"
RESIDENCE_HOSTS = ("octo.ghe.com", "api.octo.ghe.com", "codeload.octo.ghe.com")


@asynccontextmanager
async def open_company(aws, names=HOSTS):
    """Open a scene whose GitHub is reached by a proxy alone, and has a certificate for `names`.

    Its variables trust the certificate's issuer, and lead to the proxy.
    """
    issuer = trustme.CA()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    issuer.issue_cert("127.0.0.1", *names).configure_cert(tls)
    async with open_scene(aws, tls=tls) as scene:
        path = scene.folder / "issuer.pem"
        issuer.cert_pem.write_to_path(str(path))
        path.chmod(0o644)
        parts = urlsplit(scene.github.url)
        async with forward_proxy.serving((parts.hostname, parts.port)) as proxy:
            env = {
                "HTTPS_PROXY": proxy.url.replace("//", "//me:proxy-password@"),
                "SIDECAR_GITHUB_URL": CLOUD,
                "SSL_CERT_FILE": str(path),
            }
            yield scene, proxy, env


async def examine(scene, env, *options):
    """Examine by the company's proxy, whose password nobody may see."""
    return await scene.examine(env, *options, secrets=["proxy-password"])


def test_github_com_by_a_proxy(aws):
    """Every host of GitHub's is asked by the proxy, and no name is looked up but its own."""

    async def play():
        async with open_company(aws) as (scene, proxy, env):
            examined = await examine(scene, env)
            assert examined.code == 0, examined.output
            assert set(proxy.hosts) == set(HOSTS)
            (text,) = examined.find("hosts")
            assert all(name in text for name in HOSTS)
            (text,) = examined.find("proxy", "ok")
            assert f"by the proxy {urlsplit(proxy.url).netloc}" in text
            assert "no name has to be looked up" in examined.find("dns")[0]

    run_side_by_side(play())


def test_ghe_com_by_a_proxy(aws):
    """A server with data residency has hosts of its own; what it shares is a warning."""

    async def play():
        async with open_company(aws, RESIDENCE_HOSTS) as (scene, proxy, env):
            proxy.blocked = {"codeload.github.com"}
            examined = await examine(scene, env | {"SIDECAR_GITHUB_URL": RESIDENCE})
            assert set(RESIDENCE_HOSTS) <= set(proxy.hosts)
            (text,) = examined.find("hosts", "ok")
            assert all(name in text for name in RESIDENCE_HOSTS)
            assert len(examined.find("hosts", "warning")) == 2
            assert not examined.find("hosts", "failed")

    run_side_by_side(play())


def test_one_host_that_the_proxy_blocks(aws):
    """The line names the host, and what it is needed for."""

    async def play():
        async with open_company(aws) as (scene, proxy, env):
            proxy.blocked = {"results-receiver.actions.githubusercontent.com"}
            check_first(await examine(scene, env), "blocked-host")

    run_side_by_side(play())


@pytest.mark.parametrize("mode", ["swallow", "refuse"])
def test_a_proxy_that_lets_nothing_through(aws, mode):
    """The line names the proxy, not the host behind it."""

    async def play():
        async with open_company(aws) as (scene, proxy, env):
            proxy.mode = mode
            hasty = (*HASTY, "proxy,github,hosts") if mode == "swallow" else ()
            examined = await examine(scene, env, *hasty)
            check_first(examined, f"proxy-{mode}s")

    run_side_by_side(play())


@pytest.mark.parametrize(
    ("name", "proxy"),
    [
        ("proxy-is-gone", "http://me:proxy-password@127.0.0.1:9"),
        ("proxy-of-another-kind", "socks5://me:proxy-password@127.0.0.1:1080"),
    ],
)
def test_no_proxy_where_one_is_named(aws, name, proxy):
    """Nobody listens there, or somebody who speaks otherwise."""

    async def play():
        async with open_company(aws) as (scene, _, env):
            check_first(await examine(scene, env | {"HTTPS_PROXY": proxy}), name)

    run_side_by_side(play())


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("proxies-differ", {"https_proxy": "http://127.0.0.1:10"}),
        (
            "proxy-sees-credentials",
            {
                "http_proxy": "http://127.0.0.1:9",
                "no_proxy": "127.0.0.1",
                "SIDECAR_RELAY": "off",
            },
        ),
    ],
)
def test_variables_of_proxies_that_surprise(aws, name, more):
    """Programs of jobs read them otherwise than the agent."""

    async def play():
        async with open_company(aws) as (scene, _, env):
            check(await examine(scene, env | more), name)

    run_side_by_side(play())


def test_an_issuer_that_is_not_trusted(aws):
    """As behind a firewall that opens TLS: the line says so before any other that fails."""

    async def play():
        async with open_company(aws) as (scene, _, env):
            check_first(await examine(scene, env | {"SSL_CERT_FILE": None}), "issuer-not-trusted")

    run_side_by_side(play())


@pytest.mark.parametrize(
    ("name", "variable", "content"),
    [
        ("no-file-of-issuers", "SSL_CERT_FILE", None),
        ("no-certificates-in-it", "AWS_CA_BUNDLE", "none"),
    ],
)
def test_a_file_of_issuers_that_cannot_be_used(aws, name, variable, content):
    """It is not there, or holds something else."""

    async def play():
        async with open_company(aws) as (scene, _, env):
            path = scene.folder / "others.pem"
            if content is not None:
                path.write_text(content)
            check(await examine(scene, env | {variable: str(path)}), name)

    run_side_by_side(play())


@pytest.mark.parametrize(
    ("name", "off", "more"),
    [
        ("clock-is-off", 600, {}),
        (
            "clock-is-off-for-an-app",
            -90,
            {"SIDECAR_GITHUB_APP_ID": "1001", "SIDECAR_GITHUB_APP_KEY": "file:/nowhere"},
        ),
    ],
)
def test_a_clock_that_is_off(aws, name, off, more):
    """All servers say another time: so it is this clock."""

    async def play():
        async with open_scene(aws) as scene, faults.serving(scene.github.url) as github:
            date = {"Date": formatdate(time() + off, usegmt=True)}
            for proxy in (github, scene.ssm):
                proxy.add(Rule("status", method="GET", status=404, headers=date))
            env = {"SIDECAR_GITHUB_URL": f"{github.url}/octo/repo", **more}
            check_first(await scene.examine(env), name)

    run_side_by_side(play())


def test_one_server_with_a_wrong_clock_is_no_proof(aws):
    """As long as another one agrees with this machine."""

    async def play():
        async with open_scene(aws) as scene, faults.serving(scene.github.url) as github:
            date = {"Date": formatdate(time() - 600, usegmt=True)}
            github.add(Rule("status", method="GET", status=404, headers=date))
            env = {"SIDECAR_GITHUB_URL": f"{github.url}/octo/repo"}
            assert "right" in (await scene.examine(env)).find("clock", "ok")[0]

    run_side_by_side(play())


@pytest.mark.root
def test_a_name_service_that_does_not_answer():
    """In a namespace without a way out no name has an address."""

    async def play():
        async with open_scene("") as scene:
            env = {"SIDECAR_GITHUB_URL": "https://ghes.example.com/octo/repo"}
            check_first(await scene.examine(env), "no-name-service")

    in_namespace(play())
