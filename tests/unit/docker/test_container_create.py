"""A create request gets variables and other binds, and is not changed otherwise."""

from __future__ import annotations

import json

import pytest

from sidecar.docker.container_create import ContainerCreate
from sidecar.docker.credential_variables import CredentialVariables, parse_env
from sidecar.docker.json_documents import UnreadableBody
from tests.unit.docker.test_binds import SOCKETS

URI = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
PATH = "/v2/credentials/own"
ALL_VARIABLES = [
    f"{URI}={PATH}",
    "AWS_REGION=eu-central-1",
    "AWS_DEFAULT_REGION=eu-central-1",
    "AWS_EC2_METADATA_DISABLED=true",
]


def make_variables(**more: object) -> CredentialVariables:
    """Return the variables to add."""
    return CredentialVariables(
        "eu-central-1", lambda: PATH, frozenset({"/v2/credentials/job"}), **more
    )


def add_variables_to(
    body: object, image: list[str] | tuple[str, ...] = (), *, libpod=False, **more: object
):
    """Return the minted path, and the body for the engine."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    create, variables = ContainerCreate(text, libpod=libpod), make_variables(**more)
    path = create.add_variables(variables, image) if create.accepts(variables) else None
    return path, json.loads(create.body)


# --- variables ----------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [{}, {"Env": None}, {"Env": []}, {"env": []}])
def test_all_variables_are_added(body):
    """Whether `Env` is missing, null, empty, or in lower case, which is the same for Go."""
    path, result = add_variables_to(body)
    assert path == PATH
    (env,) = result.values()
    assert env == ALL_VARIABLES


def test_a_container_s_own_variables_stay():
    """A container's own region is also used for the variable that other SDKs read."""
    own = ["B=2", "AWS_REGION=us-east-1", "A", "AWS_EC2_METADATA_DISABLED=false"]
    _, result = add_variables_to({"Env": own})
    assert result["Env"] == [*own, ALL_VARIABLES[0], "AWS_DEFAULT_REGION=us-east-1"]


CONTAINER_VARIABLES = [
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
]


OTHER_CREDENTIALS = [
    "AWS_ACCESS_KEY_ID",
    "AWS_ACCESS_KEY",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
]


@pytest.mark.parametrize("name", [*OTHER_CREDENTIALS, *CONTAINER_VARIABLES, URI])
def test_a_container_with_its_own_credentials_is_unchanged(name):
    """The same if its image brings them."""
    body = {"Image": "x", "Env": [f"{name}=x"]}
    assert add_variables_to(body) == (None, body)
    if name != URI:
        assert add_variables_to({"Image": "x"}, [f"{name}=x"]) == (None, {"Image": "x"})


@pytest.mark.parametrize(
    "own",
    [
        *(["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"],),
        *(["AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY="], CONTAINER_VARIABLES, [URI]),
    ],
)
def test_names_without_values_bring_no_credentials(own):
    """`docker run -e NAME` and compose's `${NAME}` send them where the job has no such variable."""
    path, result = add_variables_to({"Env": own})
    assert path == PATH
    assert result["Env"] == [*(name for name in own if name != URI), *ALL_VARIABLES]
    assert add_variables_to({}, own)[1]["Env"] == ALL_VARIABLES


def test_names_without_values_bring_no_settings():
    """An empty region is none, and an empty switch switches nothing."""
    names = [one.partition("=")[0] for one in ALL_VARIABLES]
    for own in (names, [f"{name}=" for name in names]):
        assert add_variables_to({"Env": own})[1]["Env"] == ALL_VARIABLES
        assert add_variables_to({}, own)[1]["Env"] == ALL_VARIABLES


@pytest.mark.parametrize("name", CONTAINER_VARIABLES)
def test_an_empty_variable_that_sdks_would_read_is_unset(name):
    """An SDK opens the token file without a name, and so fails beside a valid path."""
    _, result = add_variables_to({"Env": [f"{name}=", "A="]})
    assert result["Env"] == ["A=", name, *ALL_VARIABLES]
    assert add_variables_to({}, [f"{name}="])[1]["Env"] == [name, *ALL_VARIABLES]
    _, result = add_variables_to({"env": {name: "", "A": ""}, "unsetenv": ["B", URI]}, libpod=True)
    assert result["unsetenv"] == ["B", name]
    assert name not in result["env"]
    assert result["env"][URI] == PATH


def test_an_empty_proxy_variable_names_no_proxy():
    """The container's NO_PROXY stays as it is."""
    _, result = add_variables_to({"Env": ["HTTP_PROXY=", "https_proxy"]})
    assert result["Env"] == ["HTTP_PROXY=", "https_proxy", *ALL_VARIABLES]


@pytest.mark.parametrize(
    "own",
    [
        {"Env": ["AWS_PROFILE=dev"]},
        {"Env": ["AWS_DEFAULT_PROFILE=dev"]},
        {"Env": ["AWS_CONFIG_FILE=/etc/aws"]},
        {"Env": ["AWS_SHARED_CREDENTIALS_FILE=/etc/aws"]},
        {"HostConfig": {"Binds": ["/home/me/.aws:/home/app/.aws"]}},
        {"HostConfig": {"Binds": ["/x:/home/node/.aws/config:ro,z"]}},
        {"HostConfig": {"Binds": ["volume:/home/app/.aws/"]}},
        {"HostConfig": {"Binds": ["c:\\me\\.aws:c:\\users\\x\\.aws"]}},
        {"HostConfig": {"Mounts": [{"Type": "bind", "Target": "/home/app/.aws/credentials"}]}},
        {"HostConfig": {"Mounts": [{"Type": "volume", "Source": "v", "Target": "/home/app/.aws"}]}},
    ],
)
def test_a_container_s_own_configuration_wins(own):
    """The proxy's region and switches would win over those of a profile; the path is the last."""
    path, result = add_variables_to(own)
    assert path == PATH
    assert result == {**own, "Env": [*own.get("Env", ()), f"{URI}={PATH}"]}
    if "Env" in own:
        assert add_variables_to({}, own["Env"])[1]["Env"] == [f"{URI}={PATH}"]


@pytest.mark.parametrize(
    "body",
    [
        {"mounts": [{"type": "bind", "source": "/x", "destination": "/home/app/.aws"}]},
        {"volumes": [{"Name": "v", "Dest": "/home/app/.aws"}]},
    ],
)
def test_a_configuration_is_found_in_podman_s_own_form(body):
    """There the mounts are at the top."""
    _, result = add_variables_to(body, libpod=True)
    assert result["env"] == {URI: PATH}


@pytest.mark.parametrize(
    "config",
    [
        {
            "Binds": [
                "/home/me/.aws:/aws",
                "/home/app/.aws",
                "/x:/home/app/.awsome",
                "/x:/home/app/.aws/cli",
            ]
        },
        {"Mounts": [{"Type": "tmpfs", "Target": "/home/app/.aws"}, {"Target": "/root/aws"}, 7]},
    ],
)
def test_other_mounts_bring_no_configuration(config):
    """Such a container gets all variables."""
    _, result = add_variables_to({"HostConfig": config})
    assert result["Env"] == ALL_VARIABLES


@pytest.mark.parametrize("form", ["{}=/v2/credentials/dead", "{}=", "{}"])
def test_an_image_s_path_never_counts(form):
    """A path is a task's: `docker commit` put it into the image, and it is dead by now."""
    path, result = add_variables_to(
        {"Image": "x"}, [form.format(URI), "AWS_EC2_METADATA_DISABLED="]
    )
    assert path is not None
    assert result["Env"] == ALL_VARIABLES


def test_a_container_may_use_the_job_s_path():
    """`docker run -e NAME` passes the job's own path on; the container gets the other variables."""
    path, result = add_variables_to({"Env": [f"{URI}=/v2/credentials/job"]})
    assert path is None
    assert result["Env"] == [f"{URI}=/v2/credentials/job", *ALL_VARIABLES[1:]]


@pytest.mark.parametrize("minted", [True, False])
def test_another_container_s_path_is_replaced(minted):
    """Tools that copy a container take its variables; so does `docker run -e` in a container."""
    own = [f"{URI}=/v2/credentials/copied", "AWS_REGION=eu-central-1"]
    path, result = add_variables_to({"Env": own}, is_minted=lambda _: minted)
    if minted:
        assert path == PATH
        assert sorted(result["Env"]) == sorted(ALL_VARIABLES)
    else:
        assert (path, result["Env"]) == (None, own)


def test_what_was_changed_is_known():
    """An image that is made of the container gets it back; None stands for no variable."""
    body = {"Env": ["NO_PROXY=a", "AWS_REGION=", "B=1", "AWS_CONTAINER_AUTHORIZATION_TOKEN="]}
    create = ContainerCreate(json.dumps(body).encode())
    create.add_variables(make_variables(uses_proxy=True), ["C=1", f"{URI}=/dead", "no_proxy=c"])
    assert create.originals == {
        URI: None,
        "AWS_REGION": "",
        "AWS_DEFAULT_REGION": None,
        "AWS_EC2_METADATA_DISABLED": None,
        "NO_PROXY": "a",
        "no_proxy": "c",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": "",
    }


def test_an_image_s_variables_are_kept():
    """A region that the image sets is kept."""
    _, result = add_variables_to({}, ["AWS_DEFAULT_REGION=us-west-2", "PATH=/bin"])
    assert result["Env"] == [ALL_VARIABLES[0], "AWS_REGION=us-west-2", ALL_VARIABLES[3]]


@pytest.mark.parametrize(
    ("env", "more", "no_proxy"),
    [
        (["HTTPS_PROXY=p"], {}, "169.254.170.2,169.254.169.254"),
        (["http_proxy=p", "no_proxy=a, b"], {}, "a,b,169.254.170.2,169.254.169.254"),
        (["NO_PROXY=*"], {"uses_proxy": True}, "*"),
        (["NO_PROXY=a,169.254.170.2"], {"uses_proxy": True}, "a,169.254.170.2,169.254.169.254"),
    ],
)
def test_credentials_are_not_fetched_through_an_http_proxy(env, more, no_proxy):
    """If container or job names a proxy, the metadata addresses join both spellings of NO_PROXY."""
    _, result = add_variables_to({"Env": env}, **more)
    env = parse_env(result["Env"])
    assert (env["NO_PROXY"], env["no_proxy"]) == (no_proxy, no_proxy)
    assert sum(entry.lower().startswith("no_proxy=") for entry in result["Env"]) == 2


def test_without_an_http_proxy_no_proxy_is_unchanged():
    """A container's own NO_PROXY stays as it is."""
    _, result = add_variables_to({"Env": ["NO_PROXY=a"]})
    assert result["Env"] == ["NO_PROXY=a", *ALL_VARIABLES]


def test_an_unknown_region_is_not_set():
    """The other variables are set."""
    create = ContainerCreate(b"{}")
    create.add_variables(CredentialVariables(None, lambda: PATH))
    assert json.loads(create.body)["Env"] == [ALL_VARIABLES[0], ALL_VARIABLES[3]]


def test_an_env_that_is_no_list_is_unchanged():
    """No path is minted for it."""
    assert add_variables_to({"Env": {"A": "1"}}) == (None, {"Env": {"A": "1"}})


def test_podman_s_own_form_gets_the_variables():
    """There `env` is an object, and `unsetenv` lists what to unset."""
    body = {"image": "x", "env": {"A": "1", "AWS_REGION": "us-east-1"}, "unsetenv": ["B"]}
    path, result = add_variables_to(body, libpod=True)
    assert path == PATH
    assert result == {
        **body,
        "env": {
            "A": "1",
            "AWS_REGION": "us-east-1",
            URI: PATH,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        },
    }
    assert add_variables_to({"env": {URI: "x"}}, libpod=True) == (None, {"env": {URI: "x"}})
    assert add_variables_to({"unsetenv": [URI]}, libpod=True)[0] == PATH
    assert add_variables_to({"env": []}, libpod=True) == (None, {"env": []})


# --- binds --------------------------------------------------------------------------------------


# --- documents ----------------------------------------------------------------------------------


def test_an_unchanged_body_keeps_its_bytes():
    """Whatever else is in the body."""
    body = b'{ "Env" : ["AWS_ACCESS_KEY_ID=x"], "A" : 1e2 , "B":"\\u00e9\xc3\xa9\xff" }'
    create = ContainerCreate(body)
    assert not create.accepts(make_variables())
    create.replace_binds(SOCKETS.find_replacement)
    assert create.body == body


def test_unknown_fields_are_kept():
    """They keep their order; so do numbers beyond a float, and text that is not valid UTF-8."""
    body = b'{"Z":123456789012345678901234567890,"A":{"b":[null,true,"\\ud800\xff"]},"Env":[]}'
    create = ContainerCreate(body)
    create.add_variables(make_variables())
    assert create.body.startswith(
        b'{"Z":123456789012345678901234567890,"A":{"b":[null,true,"\\ud800\\udcff"]},"Env":['
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"{}{}",
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b"\xef\xbb\xbf{}",
        b"{'a':1}",
        b'{"a":"\n"}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"Env":[],"env":[]}',
        b'{"Env":[],"Env":[]}',
        b'{"HostConfig":{},"ho\\u017ftconfig":{}}',
        b'{"HostConfig":{"Binds":[],"bind\\u017f":[]}}',
    ],
)
def test_ambiguous_json_is_refused(body):
    """Go would merge two keys for one field; others Go refuses, or Python does."""
    with pytest.raises(UnreadableBody):
        rewrite(body)


def rewrite(body: bytes) -> bytes:
    """Make all changes that the proxy makes to a create request."""
    create = ContainerCreate(body)
    create.replace_binds(SOCKETS.find_replacement)
    create.add_variables(make_variables())
    return create.body


def test_labels_may_differ_in_case_only():
    """Only the fields that the proxy uses must not be there twice."""
    _, result = add_variables_to(b'{"Labels":{"Env":"1","env":"2"}}')
    assert result["Labels"] == {"Env": "1", "env": "2"}


# --- the rules for containers -------------------------------------------------------------------


def describe(body, *, libpod=False):
    """Return what the rules compare."""
    return ContainerCreate(json.dumps(body).encode(), libpod=libpod).container


def test_rules_compare_image_and_labels():
    """In docker's form and in podman's, whatever the case of the keys; a null is no label."""
    labels = {"tier": "db", "number": 5, "none": None}
    for body, libpod in (
        ({"Image": "a:1", "Labels": labels}, False),
        ({"image": "a:1", "labels": labels}, True),
    ):
        found = describe(body, libpod=libpod)
        assert (found.image, found.labels) == ("a:1", {"tier": "db", "number": "5"})
    assert describe({"Labels": ["tier=db"]}).labels == {}
    with pytest.raises(UnreadableBody, match="given twice"):
        describe({"Labels": {"tier": "db"}, "labels": {}})


@pytest.mark.parametrize(
    ("body", "libpod", "shares"),
    [
        ({}, False, False),
        ({"HostConfig": {"NetworkMode": "bridge"}}, False, False),
        ({"HostConfig": {"NetworkMode": "my-network"}}, False, False),
        ({"HostConfig": {"NetworkMode": "host"}}, False, True),
        ({"hostconfig": {"networkmode": "container:abc"}}, False, True),
        ({"NetworkMode": "host"}, False, True),
        ({"HostConfig": {"NetworkMode": "bridge"}, "networkmode": "container:abc"}, False, True),
        ({}, True, False),
        ({"netns": {"nsmode": "bridge"}}, True, False),
        ({"netns": {"nsmode": "host"}}, True, True),
        ({"netns": {"nsmode": "path", "value": "/x"}}, True, True),
        ({"pod": "p"}, True, True),
    ],
)
def test_a_network_of_another_is_seen(body, libpod, shares):
    """Such a container's requests look like those of somebody else."""
    assert describe(body, libpod=libpod).shares_network is shares


def test_a_container_gets_the_path_of_its_rule():
    """What the rules answer for it; a path that the client brings from the job's steps stays."""
    seen = []

    def mint_for(container):
        seen.append(container.image)
        return "/v2/credentials/ruled"

    path, result = add_variables_to({"Image": "a"}, mint_for=mint_for)
    assert path == "/v2/credentials/ruled"
    assert f"{URI}=/v2/credentials/ruled" in result["Env"]
    path, _ = add_variables_to({"Env": [f"{URI}=/v2/credentials/job"]}, mint_for=mint_for)
    assert path is None
    assert seen == ["a"]
