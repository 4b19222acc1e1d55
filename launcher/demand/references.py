"""Read the list of the webhook's secrets: given as they are, or as places where they stand."""

from __future__ import annotations


def split_references(text: str) -> list[str]:
    """Split secrets and places of secrets, which have commas between them."""
    return [item.strip() for item in text.split(",") if item.strip()]


def split_secrets(text: str) -> list[str]:
    """Split what stands in a place: one secret a line, so that one can be replaced there."""
    return [line.strip() for line in text.splitlines() if line.strip()]
