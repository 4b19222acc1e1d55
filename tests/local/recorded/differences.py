"""Where the stand-ins differ from the record, one row each, with the reason."""

NOT_PLAYED: dict[str, str] = {}
LIVES: dict[str, set[str]] = {}
BODIES: dict[str, str] = {}
