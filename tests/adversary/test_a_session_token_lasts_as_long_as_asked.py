"""A session token of the relay's IMDS protocol is valid for the whole lifetime that was asked."""

import base64

import pytest

from sidecar.relay.imds_protocol import Tokens

PEER = "127.0.0.1"


class InWholeSeconds(Tokens):
    """Tokens whose expiry is cut to a whole second, as all were once."""

    def issue(self, ttl, peer):
        """Return a token."""
        expiry = (int(self._now()) + ttl).to_bytes(8, "big")
        return base64.urlsafe_b64encode(expiry + self._signature(expiry, peer)).decode()

    def read_expiry(self, token, peer):
        """Return when it expires."""
        return super().read_expiry(token, peer) * 1000


@pytest.mark.parametrize("kind", [Tokens, InWholeSeconds], ids=["mended", "unmended"])
@pytest.mark.parametrize("ttl", [1, 2, 21600])
def test_a_token_is_valid_for_its_lifetime(kind, ttl):
    """Whatever part of a second has passed when it is issued; and not for longer."""
    now = 1_700_000_000.8
    tokens = kind(lambda: now)
    lasts = tokens.read_expiry(tokens.issue(ttl, PEER), PEER) - now
    if kind is Tokens:
        assert lasts == pytest.approx(ttl, abs=0.001)
    else:
        assert lasts == pytest.approx(ttl - 0.8)
