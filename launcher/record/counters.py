"""Make the requests that count the launches of a pool, a repository or the account.

A counter is an item of its own. It is changed in one transaction with the launch that takes or
gives a place in it, so that the two never differ.
"""

from __future__ import annotations

from typing import Any, Final

from launcher.record.table import KEY, make_number

PLACES: Final = "places"
"""The attribute of a counter's item that holds how many places are taken."""


def counter_key(name: str) -> dict[str, Any]:
    """Return the key of a counter's item."""
    return {KEY: {"S": f"counter#{name}"}}


def take_place(table: str, counter: str, most: int) -> dict[str, Any]:
    """Make the step of a transaction that takes a place, if there are fewer than `most`."""
    return _count_by(table, counter, 1, "attribute_not_exists(#places) OR #places < :bound", most)


def give_place(table: str, counter: str) -> dict[str, Any]:
    """Make the step that gives a place back, if one is taken."""
    return _count_by(table, counter, -1, "#places > :bound", 0)


def _count_by(table: str, counter: str, change: int, condition: str, bound: int) -> dict[str, Any]:
    return {
        "Update": {
            "TableName": table,
            "Key": counter_key(counter),
            "UpdateExpression": "ADD #places :change",
            "ConditionExpression": condition,
            "ExpressionAttributeNames": {"#places": PLACES},
            "ExpressionAttributeValues": {
                ":change": make_number(change),
                ":bound": make_number(bound),
            },
        }
    }
