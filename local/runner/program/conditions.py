"""A step's `if:`, as far as steps of a stand-in need it."""


class WrongConditionError(Exception):
    """An expression this stand-in does not know."""


def holds(condition: str, *, failed: bool, canceled: bool) -> bool:
    """Evaluate it. Known are the status functions, `!`, `&&`, `||`, `true`, `false`."""
    text = condition.strip()
    if text.startswith("${{") and text.endswith("}}"):
        text = text[3:-2].strip()
    values = {
        "always()": True,
        "success()": not failed and not canceled,
        "failure()": failed and not canceled,
        "cancelled()": canceled,
        "true": True,
        "false": False,
    }
    # Without a status function every condition also wants success, as GitHub has it.
    if not any(f"{name}()" in text for name in ("always", "success", "failure", "cancelled")):
        return values["success()"] and _any(text, values)
    return _any(text, values)


def _any(text: str, values: dict[str, bool]) -> bool:
    return any(
        all(_one(part.strip(), values) for part in group.split("&&")) for group in text.split("||")
    )


def _one(text: str, values: dict[str, bool]) -> bool:
    if text.startswith("!"):
        return not _one(text[1:].strip(), values)
    if text not in values:
        raise WrongConditionError(f"Unrecognized named-value: '{text}'.")
    return values[text]
