"""GARO's contract: its headers, fields and answers, without its defects."""

import asyncio
import hashlib
import hmac
import json
import re
from urllib.parse import urlencode

import pytest

from tests.unit.launcher.api.scene import ACCOUNT, COMMIT, GARO, POOLS, TOKEN, play, sign


def test_a_start_is_answered_as_garo_answers_it():
    """With its five fields; the runner's labels are type, unique id and the caller's own."""

    async def story(scene):
        status, answer = await scene.garo(type="ondemand", label="mine")
        assert status == 200
        assert list(answer) == ["runnerstate", "name", "additional_label", "type", "uniqueid"]
        assert answer["runnerstate"] == "starting"
        assert re.fullmatch(r"[a-z]{10}", answer["uniqueid"])
        assert answer["name"] == f"github-runner-ondemand-{answer['uniqueid']}"
        assert (answer["type"], answer["additional_label"]) == ("ondemand", "mine")
        assert scene.work.hub.registered[0] == ("ondemand", answer["uniqueid"], "mine")
        (request,) = scene.started
        network = request["networkConfiguration"]["awsvpcConfiguration"]
        assert network["subnets"] == ["subnet-11111111"]
        assert network["securityGroups"] == ["sg-11111111"]

    play(story)


def test_state_and_stop_are_answered_as_garo_answers_them():
    """`/stop` too, which was a crash."""

    async def story(scene):
        _, begun = await scene.garo()
        only = {"sg": None, "subnet": None, "name": begun["name"]}
        status, answer = await scene.garo("/state", **only)
        assert (status, answer["runnerstate"]) == (200, "installing")
        assert set(answer) == {
            "instanceid",
            "name",
            "updated_expiry_time",
            "runnerstate",
            "uniqueid",
        }
        assert answer["updated_expiry_time"] > scene.work.now()
        assert (answer["name"], answer["uniqueid"]) == (begun["name"], begun["uniqueid"])
        scene.work.hub.set_runner(scene.work.hub.runners_by_id[21].name, online=True)
        assert (await scene.garo("/state", **only))[1]["runnerstate"] == "started"
        scene.work.clock[0] += 1
        assert (await scene.garo("/stop", **only))[1]["runnerstate"] == "removing"
        assert len(scene.work.tasks.stops) == 1

    play(story)


def test_the_documented_form_is_read_like_json():
    """Whichever content type says so: GARO's own action sends JSON as a form."""

    async def story(scene):
        form = "application/x-www-form-urlencoded"
        text = urlencode(scene.fields(label="form")).encode()
        status, answer = await scene.garo(body=text, headers={"content-type": form})
        assert (status, answer["additional_label"]) == (200, "form")
        text = json.dumps(scene.fields(label="json")).encode()
        status, answer = await scene.garo(body=text, headers={"content-type": form})
        assert (status, answer["additional_label"]) == (200, "json")

    play(story)


def test_a_replay_gets_the_first_answer_and_starts_nothing():
    """Also one whose signature is written in capitals, or whose unsigned headers are others."""

    async def story(scene):
        body = json.dumps(scene.fields()).encode()
        first = await scene.garo(body=body)
        assert first[0] == 200
        loud = {"x-github-signature": sign(body)["x-github-signature"].upper()}
        for headers in ({}, loud, {"x-github-commitsha": "f" * 40}):
            assert await scene.garo(body=body, headers=headers) == first
        replies = await asyncio.gather(*(scene.garo(body=body) for _ in range(8)))
        assert {status for status, _ in replies} == {200}
        assert len(scene.started) == 1

    play(story)


@pytest.mark.parametrize(("offset", "status"), [(-31, 401), (-29, 200), (29, 200), (31, 401)])
def test_the_window_of_time_has_two_sides(offset, status):
    """GARO took a time of the future, so that a request could be made ahead, and kept."""

    async def story(scene):
        found, answer = await scene.garo(time=int(scene.work.now()) + offset)
        assert (found, len(scene.started)) == (status, int(status == 200)), answer

    play(story)


def test_reading_a_repository_proves_nothing():
    """GARO took any token that reads the commit: of a public repository that is everybody's."""

    async def story(scene):
        stranger = "ghp_anybody0123456789abcdef"
        body = json.dumps(scene.fields()).encode()
        digest = hmac.digest(stranger.encode(), body, hashlib.sha512).hex()
        # GARO's own check of the signature holds: the token that signs is sent along.
        assert digest == sign(body, stranger)["x-github-signature"]
        status, answer = await scene.garo(body=body, token=stranger)
        assert (status, "may not write" in answer["error"]) == (403, True)
        assert scene.proof.asked == ["octo/app"]
        assert scene.started == []

    play(story)


def test_github_is_asked_only_for_what_is_listed():
    """Whoever does not know the external id has no call of GitHub's made for him."""

    async def story(scene):
        for wrong in (
            {"repo": "octo/other"},
            {"account_id": "123456789012"},
            {"external_id": "another-external-id"},
        ):
            status, answer = await scene.garo(**wrong)
            assert (status, "not listed together" in answer["error"]) == (403, True)
        assert scene.proof.asked == []

    play(story)


UNLISTED = [
    ("subnet", "subnet-99999999"),
    ("sg", "sg-99999999"),
    ("instanceRoleArn", "arn:aws:iam::1:role/admin"),
    ("imageid", "ami-0123456789abcdef0"),
    ("instanceType", "x1e.32xlarge"),
    ("type", "gpu"),
    ("region", "us-east-1"),
]


@pytest.mark.parametrize(("field", "value"), UNLISTED)
def test_a_field_outside_what_is_listed_is_403_and_named(field, value):
    """GARO took any of them from whoever asked."""

    async def story(scene):
        status, answer = await scene.garo(**{field: value})
        assert (status, answer["error"].startswith(field)) == (403, True), answer
        assert scene.started == []

    play(story)


INJECTED = ["$(id)", "a;b", "a\nb", "../x", "a b", "'", '"', "\0", "é", ["a"], {"a": 1}, True]


@pytest.mark.parametrize("field", ["repo", "account_id", "label", "type", "region", "sg", "time"])
def test_nothing_is_taken_that_another_reader_could_take_for_a_command(field):
    """In GARO `repo` went into a shell script as it came."""

    async def story(scene):
        for value in INJECTED:
            status, _ = await scene.garo(**{field: value})
            assert 400 <= status < 404, (field, value)
        assert scene.started == []

    play(story)


def test_a_dry_run_starts_nothing():
    """It is answered as a start is."""

    async def story(scene):
        status, answer = await scene.garo(dryrun="true")
        assert (status, answer["runnerstate"]) == (200, "starting")
        assert scene.started == []

    play(story)


def test_nobody_else_sees_or_stops_a_runner():
    """Not another repository of the same account, and not by a name that is made up."""
    both = GARO.replace('["octo/app"]', '["octo/app", "octo/other"]')

    async def story(scene):
        _, begun = await scene.garo()
        scene.proof.writable[TOKEN, "octo/other"] = 8
        only = {"sg": None, "subnet": None}
        for repo, name, status in [
            ("octo/other", begun["name"], 404),
            ("octo/app", "github-runner-spot-aaaaaaaaaa", 404),
            ("octo/app", "github-runner-spot-../../x", 400),
            ("octo/app", begun["name"], 200),
        ]:
            assert (await scene.garo("/state", repo=repo, name=name, **only))[0] == status
        stopped = await scene.garo("/stop", repo="octo/other", name=begun["name"], **only)
        assert stopped[0] == 404
        assert scene.work.tasks.stops == []

    play(story, POOLS + both)


def test_the_account_is_assumed_with_its_external_id_and_without_tags():
    """GARO's roles do not allow them."""

    async def story(scene):
        await scene.garo()
        (guest,) = scene.accounts.opened
        assert (guest.account.number, guest.account.external_id) == (ACCOUNT, "an-external-id")
        assert (guest.tags, guest.region) == ((), "eu-west-2")

    play(story)


@pytest.mark.parametrize(
    "headers",
    [
        {"x-github-signature": "0" * 128},
        {"x-github-signature": "0" * 40},
        {"x-github-signature": ""},
        {"x-github-token": ""},
        {"x-github-token": "short"},
        {"x-github-token": TOKEN + "x"},
        {"x-github-token": "ghs_ü123456789abcdefghij"},
        {"x-github-commitsha": "main"},
        {"x-github-commitsha": COMMIT + "\n"},
    ],
)
def test_what_is_not_signed_by_its_token_is_refused(headers):
    """Before the body is believed."""

    async def story(scene):
        assert (await scene.garo(headers=headers))[0] == 401
        assert scene.proof.asked == []

    play(story)


def test_without_a_table_the_contract_is_not_served():
    """Nobody is listed, so nobody gets anything."""

    async def story(scene):
        assert (await scene.garo())[0] == 403

    play(story, POOLS)
