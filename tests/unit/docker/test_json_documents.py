"""JSON is parsed as Go's encoding/json does: keys in any case, one key for each field."""

from __future__ import annotations

import pytest

from sidecar.docker.json_documents import UnreadableBody, parse_object, serialize


@pytest.mark.parametrize("key", [b"Binds", b"binds", b"BINDS", b"bind\\u017f"])
def test_a_field_is_found_in_any_case(key):
    """Two letters outside ASCII count too; the key stays as it was written."""
    fields = parse_object(b'{"%s":[1]}' % key)
    assert fields.get_field("Binds", list) == [1]
    fields.set_field("Binds", [2])
    assert list(fields.values()) == [[2]]


def test_a_field_of_another_kind_is_none():
    """So is a missing one; setting that adds it under its own name."""
    fields = parse_object(b'{"Env":"A=1"}')
    assert fields.get_field("Env", list) is None
    assert fields.find_key("HostConfig") is None
    fields.set_field("HostConfig", {})
    assert serialize(fields) == b'{"Env":"A=1","HostConfig":{}}'


@pytest.mark.parametrize("body", [b'{"Env":1,"env":2}', b'{"Env":1,"Env":2}'])
def test_two_keys_for_one_field_are_refused(body):
    """Only when the field is used: the engine alone knows what it makes of the others."""
    fields = parse_object(body)
    assert fields.get_field("Image", str) is None
    with pytest.raises(UnreadableBody, match="Env is given twice"):
        fields.get_field("Env", list)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}{}", b'{"a":NaN}', b"[" * 100_000])
def test_other_text_is_refused(body):
    """The error says that the body is no JSON object."""
    with pytest.raises(UnreadableBody, match="the body is no JSON"):
        parse_object(body)
