"""DynamoDB as the launcher uses it: conditional updates, transactions, consistent reads."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tests.storms.calls import Pages, refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.storms.calls import Weather

    Item = dict[str, Any]

SERVICE = "dynamodb"
_TOKEN = re.compile(r"\s*(<=|>=|<>|[=<>(),]|[#:\w.]+)")
_CLAUSES = re.compile(r"\b(SET|REMOVE|ADD|DELETE)\b")


class Table:
    """One table; its key is `id`."""

    def __init__(self, weather: Weather) -> None:
        self.items: dict[str, Item] = {}
        self.watch: Callable[[str, Item | None, Item | None], None] = lambda *_: None
        """Called with key, item before and item after, of each write."""
        self._weather = weather

    async def get_item(self, **given: Any) -> dict[str, Any]:
        """Read an item."""
        self._expect(given, {"TableName", "Key", "ConsistentRead", "ProjectionExpression"})

        def act() -> dict[str, Any]:
            item = self.items.get(given["Key"]["id"]["S"])
            return {"Item": dict(item)} if item is not None else {}

        answer: dict[str, Any] = await self._weather.call(SERVICE, "GetItem", act)
        return answer

    async def update_item(self, **given: Any) -> dict[str, Any]:
        """Change an item if its condition holds."""

        def act() -> dict[str, Any]:
            if not self._holds(given):
                raise refusal("ConditionalCheckFailedException", "UpdateItem")
            self._write(given)
            item = self.items[given["Key"]["id"]["S"]]
            return {"Attributes": dict(item)} if "ReturnValues" in given else {}

        answer: dict[str, Any] = await self._weather.call(SERVICE, "UpdateItem", act)
        return answer

    async def put_item(self, **given: Any) -> dict[str, Any]:
        """Put an item if its condition holds."""
        given = {**given, "Key": {"id": given["Item"]["id"]}}

        def act() -> dict[str, Any]:
            if not self._holds(given):
                raise refusal("ConditionalCheckFailedException", "PutItem")
            self._write(given)
            return {}

        answer: dict[str, Any] = await self._weather.call(SERVICE, "PutItem", act)
        return answer

    async def delete_item(self, **given: Any) -> dict[str, Any]:
        """Delete an item if its condition holds."""

        def act() -> dict[str, Any]:
            if not self._holds(given):
                raise refusal("ConditionalCheckFailedException", "DeleteItem")
            self._delete(given)
            return {}

        answer: dict[str, Any] = await self._weather.call(SERVICE, "DeleteItem", act)
        return answer

    async def transact_write_items(self, **given: Any) -> dict[str, Any]:
        """Do all or nothing."""

        def act() -> dict[str, Any]:
            steps = [next(iter(step.items())) for step in given["TransactItems"]]
            for kind, step in steps:
                if kind == "Put":
                    step["Key"] = {"id": step["Item"]["id"]}
            met = [self._holds(step) for _, step in steps]
            if not all(met):
                reasons = [{"Code": "None" if ok else "ConditionalCheckFailed"} for ok in met]
                raise refusal(
                    "TransactionCanceledException",
                    "TransactWriteItems",
                    CancellationReasons=reasons,
                )
            for kind, step in steps:
                if kind in ("Update", "Put"):
                    self._write(step)
                elif kind == "Delete":
                    self._delete(step)
            return {}

        answer: dict[str, Any] = await self._weather.call(SERVICE, "TransactWriteItems", act)
        return answer

    async def scan(self, **given: Any) -> dict[str, Any]:
        """Read all items that the filter lets through."""

        def act() -> dict[str, Any]:
            return {"Items": [dict(it) for it in self.items.values() if _passes(it, given)]}

        answer: dict[str, Any] = await self._weather.call(SERVICE, "Scan", act)
        return answer

    query = scan
    """With its key condition taken as a filter."""

    def get_paginator(self, operation: str) -> Pages:
        """Return the pages of an operation."""
        return Pages(getattr(self, operation))

    def _expect(self, given: dict[str, Any], known: set[str]) -> None:
        if unknown := set(given) - known:
            raise AssertionError(f"the model of DynamoDB does not know {unknown}")

    def _holds(self, given: dict[str, Any]) -> bool:
        condition = given.get("ConditionExpression")
        item = self.items.get(given["Key"]["id"]["S"], {})
        return condition is None or evaluate(condition, item, given)

    def _delete(self, given: dict[str, Any]) -> None:
        key = given["Key"]["id"]["S"]
        before = self.items.pop(key, None)
        self.watch(key, before, None)

    def _write(self, given: dict[str, Any]) -> None:
        key = given["Key"]["id"]["S"]
        before = self.items.get(key)
        if "Item" in given:
            after = dict(given["Item"])
        else:
            after = dict(before) if before is not None else {"id": {"S": key}}
            change(given["UpdateExpression"], after, given)
        self.items[key] = after
        self.watch(key, before, after)


def _passes(item: Item, given: dict[str, Any]) -> bool:
    conditions = (given.get("FilterExpression"), given.get("KeyConditionExpression"))
    return all(evaluate(each, item, given) for each in conditions if each is not None)


# ---- expressions ---------------------------------------------------------------------------------


def change(expression: str, item: Item, given: dict[str, Any]) -> None:
    """Carry out an update expression."""
    names = given.get("ExpressionAttributeNames", {})
    values = given.get("ExpressionAttributeValues", {})
    for verb, name, value in _read_update(expression):
        attribute = names.get(name, name)
        if verb == "SET":
            item[attribute] = _operand(value, item, names, values)
        elif verb == "REMOVE":
            item.pop(attribute, None)
        elif "SS" in values[value]:
            _change_set(verb, item, attribute, set(values[value]["SS"]))
        else:
            held = float(item.get(attribute, {"N": "0"})["N"])
            item[attribute] = {"N": _number(held + float(values[value]["N"]))}


def _change_set(verb: str, item: Item, attribute: str, by: set[str]) -> None:
    held = set(item.get(attribute, {"SS": []})["SS"])
    if after := held | by if verb == "ADD" else held - by:
        item[attribute] = {"SS": sorted(after)}
    else:
        item.pop(attribute, None)


@lru_cache(maxsize=1000)
def _read_update(expression: str) -> tuple[tuple[str, str, str], ...]:
    """Read an update expression: verb, name and value of each of its steps."""
    _, *parts = _CLAUSES.split(expression)
    steps = []
    for verb, text in zip(parts[::2], parts[1::2], strict=True):
        for each in _split(text):
            name, _, value = each.partition("=" if verb == "SET" else " ")
            steps.append((verb, name.strip(), value.strip()))
    return tuple(steps)


def _split(text: str) -> list[str]:
    """Split at commas that stand in no brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def _operand(text: str, item: Item, names: dict[str, str], values: dict[str, Any]) -> Any:
    for sign in (" + ", " - "):
        if sign in text:
            left, right = (_operand(it, item, names, values) for it in text.split(sign))
            by = float(right["N"]) if sign == " + " else -float(right["N"])
            return {"N": _number(float(left["N"]) + by)}
    if text.startswith("if_not_exists("):
        name, other = _split(text[len("if_not_exists(") : -1])
        held = item.get(names.get(name, name))
        return held if held is not None else _operand(other, item, names, values)
    return values[text] if text.startswith(":") else item[names.get(text, text)]


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


@lru_cache(maxsize=1000)
def _tokens(expression: str) -> tuple[str, ...]:
    return tuple(_TOKEN.findall(expression))


def evaluate(expression: str, item: Item, given: dict[str, Any]) -> bool:
    """Evaluate a condition."""
    return _Condition(
        list(_tokens(expression)),
        item,
        given.get("ExpressionAttributeNames", {}),
        given.get("ExpressionAttributeValues", {}),
    ).whole()


class _Condition:
    def __init__(
        self, tokens: list[str], item: Item, names: dict[str, str], values: dict[str, Any]
    ) -> None:
        self._tokens, self._item, self._names, self._values = tokens, item, names, values

    def whole(self) -> bool:
        found = self._any()
        if self._tokens:
            raise AssertionError(f"the model of DynamoDB cannot read {self._tokens}")
        return found

    def _any(self) -> bool:
        found = self._all()
        while self._next("OR"):
            right = self._all()
            found = found or right
        return found

    def _all(self) -> bool:
        found = self._one()
        while self._next("AND"):
            right = self._one()
            found = found and right
        return found

    def _one(self) -> bool:
        if self._next("NOT"):
            return not self._one()
        if self._next("("):
            found = self._any()
            self._take(")")
            return found
        first = self._tokens.pop(0)
        if first in ("attribute_exists", "attribute_not_exists", "begins_with", "contains"):
            return self._function(first)
        left, sign, right = self._value(first), self._tokens.pop(0), self._tokens.pop(0)
        return _compare(left, sign, self._value(right))

    def _function(self, name: str) -> bool:
        self._take("(")
        held = self._value(self._tokens.pop(0))
        if name.startswith("attribute"):
            self._take(")")
            return (held is not None) == (name == "attribute_exists")
        self._take(",")
        other = self._value(self._tokens.pop(0))
        self._take(")")
        if held is None or other is None:
            return False
        inner, wanted = next(iter(held.values())), next(iter(other.values()))
        return bool(inner.startswith(wanted) if name == "begins_with" else wanted in inner)

    def _value(self, token: str) -> Any:
        if token.startswith(":"):
            return self._values[token]
        return self._item.get(self._names.get(token, token))

    def _next(self, token: str) -> bool:
        if self._tokens and self._tokens[0] == token:
            self._tokens.pop(0)
            return True
        return False

    def _take(self, token: str) -> None:
        if not self._next(token):
            raise AssertionError(f"the model of DynamoDB cannot read {self._tokens}")


def _compare(left: Any, sign: str, right: Any) -> bool:
    if left is None or right is None:
        return sign == "<>" and left is not right
    (kind, one), (other_kind, two) = next(iter(left.items())), next(iter(right.items()))
    if kind != other_kind:
        return sign == "<>"
    if kind == "N":
        one, two = float(one), float(two)
    return bool(
        {
            "=": one == two,
            "<>": one != two,
            "<": one < two if sign == "<" else False,
            "<=": one <= two if sign == "<=" else False,
            ">": one > two if sign == ">" else False,
            ">=": one >= two if sign == ">=" else False,
        }[sign]
    )
