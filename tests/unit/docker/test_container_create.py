"""What a create becomes: the variables, the binds, and not a thing more."""

from __future__ import annotations

import json

import pytest

from sidecar.docker.binds import Sockets, plain
from sidecar.docker.container_create import ContainerCreate
from sidecar.docker.credential_variables import CredentialVariables, brought
from sidecar.docker.json_documents import UnreadableBody

URI = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
PATH = "/v2/credentials/own"
SET = [
    f"{URI}={PATH}",
    "AWS_REGION=eu-central-1",
    "AWS_DEFAULT_REGION=eu-central-1",
    "AWS_EC2_METADATA_DISABLED=true",
]
PROXY = "/mnt/shared/docker.sock"
SOCKETS = Sockets.of(PROXY, "/run/other/engine.sock")


def variables(**more: object) -> CredentialVariables:
    """Return what containers are given."""
    return CredentialVariables("eu-central-1", lambda: PATH, frozenset({"/v2/credentials/job"}), **more)


def given(body: object, image: list[str] | tuple[str, ...] = (), *, libpod=False, **more: object):
    """Return the path and the body that the engine gets."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    create, wanted = ContainerCreate(text, libpod=libpod), variables(**more)
    path = create.give(wanted, image) if create.accepts(wanted) else None
    return path, json.loads(create.body)


def turned(**host_config: object) -> dict[str, object]:
    """Return the HostConfig that the engine gets."""
    create = ContainerCreate(json.dumps({"HostConfig": host_config}).encode())
    create.turn(SOCKETS.turned)
    return json.loads(create.body)["HostConfig"]


# --- variables ----------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [{}, {"Env": None}, {"Env": []}, {"env": []}])
def test_the_set_is_added_as_a_whole(body):
    """Whether there is a list, none, or one under a name that Go takes for the same."""
    path, made = given(body)
    assert path == PATH
    (env,) = made.values()
    assert env == SET


def test_what_the_container_brings_stays_where_it_is():
    """A region of its own is also the one for SDKs that read the other name."""
    _, made = given({"Env": ["B=2", "AWS_REGION=us-east-1", "A", "AWS_EC2_METADATA_DISABLED="]})
    assert made["Env"][:4] == ["B=2", "AWS_REGION=us-east-1", "A", "AWS_EC2_METADATA_DISABLED="]
    assert made["Env"][4:] == [SET[0], "AWS_DEFAULT_REGION=us-east-1"]


@pytest.mark.parametrize(
    "name",
    [
        "AWS_ACCESS_KEY_ID",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        URI,
    ],
)
@pytest.mark.parametrize("form", ["{}=x", "{}=", "{}"])
def test_one_with_credentials_of_its_own_is_left_alone(name, form):
    """Also one that wants to be without: an empty value, or a bare name."""
    body = {"Image": "x", "Env": [form.format(name)]}
    assert given(body) == (None, body)
    assert given({"Image": "x"}, [form.format(name)]) == (None, {"Image": "x"})


def test_the_job_s_own_path_may_be_handed_on():
    """`docker run -e` with nothing but the name: the rest of the set comes with it."""
    path, made = given({"Env": [f"{URI}=/v2/credentials/job"]})
    assert path is None
    assert made["Env"] == [f"{URI}=/v2/credentials/job", *SET[1:]]


def test_an_image_s_variables_count_as_the_container_s():
    """A region that an image was built with is not overridden."""
    _, made = given({}, ["AWS_DEFAULT_REGION=us-west-2", "PATH=/bin"])
    assert made["Env"] == [SET[0], "AWS_REGION=us-west-2", SET[3]]


@pytest.mark.parametrize(
    ("env", "more", "merged"),
    [
        (["HTTPS_PROXY=p"], {}, "169.254.170.2,169.254.169.254"),
        (["http_proxy=p", "no_proxy=a, b"], {}, "a,b,169.254.170.2,169.254.169.254"),
        (["NO_PROXY=a,169.254.170.2"], {"proxied": True}, "a,169.254.170.2,169.254.169.254"),
    ],
)
def test_credentials_are_not_asked_for_by_a_proxy(env, more, merged):
    """Whoever names one, the container or the job: its exceptions grow, in both spellings."""
    _, made = given({"Env": env}, **more)
    told = brought(made["Env"])
    assert (told["NO_PROXY"], told["no_proxy"]) == (merged, merged)
    assert sum(entry.lower().startswith("no_proxy=") for entry in made["Env"]) == 2


def test_without_a_proxy_nothing_is_said_of_one():
    """And a container's own exceptions stay as they are."""
    _, made = given({"Env": ["NO_PROXY=a"]})
    assert made["Env"] == ["NO_PROXY=a", *SET]


def test_a_region_that_nobody_knows_is_not_made_up():
    """The rest of the set is there."""
    create = ContainerCreate(b"{}")
    create.give(CredentialVariables(None, lambda: PATH))
    assert json.loads(create.body)["Env"] == [SET[0], SET[3]]


def test_an_environment_that_is_no_list_is_the_engine_s_to_refuse():
    """Nothing is minted for it."""
    assert given({"Env": {"A": "1"}}) == (None, {"Env": {"A": "1"}})


def test_podman_s_own_form():
    """There the environment is an object, and what is to be unset has a list of its own."""
    asked = {"image": "x", "env": {"A": "1", "AWS_REGION": "us-east-1"}, "unsetenv": ["B"]}
    path, made = given(asked, libpod=True)
    assert path == PATH
    assert made == {
        **asked,
        "env": {
            "A": "1",
            "AWS_REGION": "us-east-1",
            URI: PATH,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        },
    }
    assert given({"env": {URI: "x"}}, libpod=True) == (None, {"env": {URI: "x"}})
    assert given({"unsetenv": [URI]}, libpod=True) == (None, {"unsetenv": [URI]})
    assert given({"env": []}, libpod=True) == (None, {"env": []})


# --- binds --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        "/var/run/docker.sock",
        "/run/docker.sock",
        "//var/run/./docker.sock",
        "/var/run/x/../docker.sock",
        "/run/other/engine.sock",
        "/var/run/other/engine.sock/",
    ],
)
def test_the_raw_socket_has_many_names(source):
    """By each of them a container gets the proxy's; where to and how stays."""
    assert turned(Binds=[f"{source}:/var/run/docker.sock:ro", f"{source}:/b"]) == {
        "Binds": [f"{PROXY}:/var/run/docker.sock:ro", f"{PROXY}:/b"]
    }
    mount = {"Type": "bind", "Source": source, "Target": "/d", "ReadOnly": True}
    assert turned(Mounts=[mount]) == {"Mounts": [{**mount, "Source": PROXY}]}
    options = {"type": "none", "o": "bind", "device": source}
    volume = {"VolumeOptions": {"DriverConfig": {"Name": "local", "Options": options}}}
    driver = {"Name": "local", "Options": {**options, "device": PROXY}}
    assert turned(Mounts=[volume]) == {"Mounts": [{"VolumeOptions": {"DriverConfig": driver}}]}


@pytest.mark.parametrize(
    "bind", ["docker.sock:/d", "/run:/run", "/run/docker.sock.d:/d", "/a/run/docker.sock:/d", "", 1]
)
def test_other_binds_stay(bind):
    """Volumes, folders, and what is no bind at all."""
    assert turned(Binds=[bind]) == {"Binds": [bind]}


def test_where_the_proxy_is_at_the_usual_place_that_place_is_right():
    """There the daemon's own socket is elsewhere, and only that is turned."""
    sockets = Sockets.of("/var/run/docker.sock", "/run/engine/raw.sock")
    assert sockets.turned("/run/docker.sock") is None
    assert sockets.turned("/var/run/engine/raw.sock") == "/var/run/docker.sock"


def test_podman_s_mounts():
    """An OCI mount's source, in lower case."""
    create = ContainerCreate(
        b'{"mounts":[{"type":"bind","source":"/run/docker.sock","destination":"/d"}]}', libpod=True
    )
    create.turn(SOCKETS.turned)
    assert json.loads(create.body)["mounts"][0]["source"] == PROXY


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/", "/"),
        ("//", "/"),
        ("/var/run", "/run"),
        ("/var/running", "/var/running"),
        ("/a/", "/a"),
    ],
)
def test_a_path_in_plain_form(path, form):
    """So that what is the same is equal."""
    assert plain(path) == form


@pytest.mark.parametrize(
    ("folder", "holds"),
    [
        ("/", True),
        ("/run", True),
        ("/var/run/", True),
        ("/run/other", True),
        ("/mnt/shared", True),
        ("/mnt", True),
        ("/run/docker.sock", False),
        ("/run/oth", False),
        ("/var", True),
        ("/va", False),
    ],
)
def test_a_folder_that_holds_a_socket(folder, holds):
    """The daemon's or the proxy's."""
    assert SOCKETS.above(folder) is holds


# --- documents ----------------------------------------------------------------------------------


def test_what_needs_no_change_stays_to_the_byte():
    """Whatever else stands in the body."""
    body = b'{ "Env" : ["AWS_ACCESS_KEY_ID=x"], "A" : 1e2 , "B":"\\u00e9\xc3\xa9\xff" }'
    create = ContainerCreate(body)
    assert not create.accepts(variables())
    create.turn(SOCKETS.turned)
    assert create.body == body


def test_unknown_fields_numbers_and_texts_survive():
    """In their order: also numbers that no float holds, and text that is no text."""
    body = b'{"Z":123456789012345678901234567890,"A":{"b":[null,true,"\\ud800\xff"]},"Env":[]}'
    create = ContainerCreate(body)
    create.give(variables())
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
def test_what_the_engine_reads_otherwise_is_refused(body):
    """Or not at all; an object that means one thing twice is merged by the engine."""
    with pytest.raises(UnreadableBody):
        rewritten(body)


def rewritten(body: bytes) -> bytes:
    """Do all that is done with a create."""
    create = ContainerCreate(body)
    create.turn(SOCKETS.turned)
    create.give(variables())
    return create.body


def test_two_labels_that_differ_in_case_are_two_labels():
    """Only fields that are looked for may not be there twice."""
    _, made = given(b'{"Labels":{"Env":"1","env":"2"}}')
    assert made["Labels"] == {"Env": "1", "env": "2"}
