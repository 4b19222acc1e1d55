"""The launcher's documents tell what its code does."""

from __future__ import annotations

import re
from pathlib import Path

from docs.launcher_events import EVENTS
from docs.launcher_reference import PAGE, SOURCES, page
from docs.tables import events_in_code
from launcher.demand import function
from launcher.settings import MODELS, variable

GUIDE = (Path(__file__).parents[2] / "docs" / "launcher.md").read_text()
KNOWN = {variable(field) for model in MODELS.values() for field in model.model_fields}


def test_the_reference_is_what_the_code_says() -> None:
    """`make docs` was run after the last change of a setting, an exit code or an event."""
    assert PAGE.read_text() == page(), "run: make docs"


def test_every_event_has_its_meaning() -> None:
    """An event that is logged is explained, and none is explained that is not logged."""
    assert set(EVENTS) == set(events_in_code(SOURCES))


def test_the_guide_names_only_what_there_is() -> None:
    """Its settings can be set, and its events are logged."""
    assert set(re.findall(r"LAUNCHER_[A-Z_]+[A-Z]", GUIDE)) <= KNOWN
    assert set(re.findall(r"`([a-z]+\.[a-z_]+)`", GUIDE)) <= set(EVENTS)


def test_the_webhook_s_function_has_the_settings_of_the_service() -> None:
    """It reads them by itself, because the settings' library takes long to import."""
    own = {function.QUEUE_URL, function.SECRETS, function.ALLOW}
    assert own <= {variable(field) for field in MODELS["webhook"].model_fields}
