"""Prove to GitHub who asks: by a token, or as an App; there may be several Apps.

An App's installation is known from the webhook, or found for the repository. One that is gone (the
App was installed anew) is found again; a suspended one is named by the error, and the message of
the job stays in the queue until somebody changes that. Of several Apps the one that sent the
webhook is taken first, and another one where that cannot do it: so one App can replace another.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sidecar import github
from sidecar.github.errors import PermissionDenied

if TYPE_CHECKING:
    from collections.abc import Sequence

    from launcher.secret import Secret
    from sidecar.github.credentials import Call


class Token:
    """A personal access token that is read again when GitHub refuses it."""

    def __init__(self, secret: Secret) -> None:
        self._secret = secret

    async def token(self, call: Call, scope: github.Scope) -> str:
        """Return the token."""
        del call, scope
        return github.check_pat(await self._secret.get(), self._secret.setting)

    def forget(self) -> bool:
        """Have it read again; False where that was done just now."""
        return self._secret.expire()


class Installation:
    """One installation of a GitHub App: that of one owner. Its token serves all of its scopes."""

    def __init__(self, app_id: str, key: Secret) -> None:
        self._app_id = app_id
        self._key = key
        self._text: str | None = None
        self._app: github.App | None = None
        self._number: int | None = None
        self._asking = asyncio.Lock()

    def suggest(self, number: int | None) -> None:
        """Take the installation's number from a webhook; GitHub is asked if it is wrong."""
        if number is None or number == self._number:
            return
        self._number = number
        if self._app is not None:
            self._app.suggest_installation(number)

    async def token(self, call: Call, scope: github.Scope) -> str:
        """Return a token of the installation; many callers at once get one token."""
        async with self._asking:
            app = await self._get_app()
            try:
                return await app.token(call, scope)
            except PermissionDenied:
                self._key.expire()  # GitHub may know a newer key of the App only
                raise

    async def _get_app(self) -> github.App:
        text = await self._key.get()
        if self._app is None or text != self._text:
            self._app, self._text = github.App(self._app_id, text), text
            self._app.suggest_installation(self._number)
        return self._app

    def forget(self) -> bool:
        """Get a new token the next time."""
        return self._app is not None and self._app.forget()


class AppItself:
    """A GitHub App as itself, and none of its installations: it may look at its own webhook."""

    def __init__(self, app_id: str, key: Secret) -> None:
        self._app_id = app_id
        self._key = key

    async def token(self, call: Call, scope: github.Scope) -> str:
        """Return a token that the App has signed."""
        del call, scope
        return github.App(self._app_id, (await self._key.get()).replace("\\n", "\n")).jwt()

    def forget(self) -> bool:
        """Have the key read again; False where that was done just now."""
        return self._key.expire()


class OwnersApps:
    """The Apps that may be installed for one owner; the one that worked last is asked first."""

    def __init__(self, apps: Sequence[tuple[str, Secret]]) -> None:
        self._installations = {app_id: Installation(app_id, key) for app_id, key in apps}
        self._order = list(self._installations)

    def suggest(self, app_id: str | None, number: int | None) -> None:
        """Take App and installation from a webhook; an App that is not one of these is ignored."""
        if app_id is None and len(self._order) == 1:
            app_id = self._order[0]
        if app_id in self._installations:
            self._prefer(app_id)
            self._installations[app_id].suggest(number)

    def _prefer(self, app_id: str) -> None:
        self._order.remove(app_id)
        self._order.insert(0, app_id)

    async def token(self, call: Call, scope: github.Scope) -> str:
        """Return a token of the first App that gets one. Raises what the first one met."""
        refused: list[PermissionDenied] = []
        for app_id in tuple(self._order):
            try:
                token = await self._installations[app_id].token(call, scope)
            except PermissionDenied as error:
                refused.append(error)
            else:
                self._prefer(app_id)
                return token
        raise refused[0]

    def forget(self) -> bool:
        """Get a new token the next time."""
        return self._installations[self._order[0]].forget()
