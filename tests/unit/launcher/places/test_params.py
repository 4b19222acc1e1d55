"""Parameters of RunTask that a user writes, merged with those of a request."""

from launcher.places import params


def test_mappings_are_merged_at_every_depth():
    """The later layer wins, and only where it says something."""
    assert params.merge({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 4}}) == {
        "a": {"b": 4, "c": 2},
        "d": 3,
    }


def test_lists_with_a_key_are_merged_by_it():
    """Others are replaced as a whole."""
    old = {"tags": [{"key": "a", "value": "1"}, {"key": "b", "value": "2"}], "subnets": ["x"]}
    new = {"tags": [{"key": "b", "value": "3"}, {"key": "c", "value": "4"}], "subnets": ["y"]}
    assert params.merge(old, new) == {
        "tags": [
            {"key": "a", "value": "1"},
            {"key": "b", "value": "3"},
            {"key": "c", "value": "4"},
        ],
        "subnets": ["y"],
    }


def test_the_layers_stay_as_they_are():
    """A merged mapping shares no list and no mapping that is changed later."""
    old = {"a": {"b": [1]}}
    params.merge(old, {"a": {"c": 2}})["a"]["d"] = 3
    assert old == {"a": {"b": [1]}}
