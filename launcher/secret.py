"""Keep a secret for some minutes, and read it again after that: so a new one is found."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING

import structlog

from launcher.errors import describe
from sidecar.aws.secrets import SecretReader, read_secret
from sidecar.errors import SidecarError

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger()

KEPT = 300.0
"""Seconds for which a secret is used without being read again."""
READ_AGAIN = 30.0
"""Seconds after which a secret that was refused is read again."""


class Secret:
    """A secret by its reference: itself, or `file:`, `ssm:` or `secretsmanager:` and a name."""

    def __init__(
        self,
        reference: str,
        setting: str,
        region: str | None,
        clock: Callable[[], float] = time.monotonic,
        is_meant: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._reference = reference
        self.setting = setting
        """The setting that the reference comes from."""
        self._reader = SecretReader(region, shared=False)
        self._clock = clock
        self._is_meant = is_meant
        self._value: str | None = None
        self._read_at = -math.inf
        self._reading = asyncio.Lock()

    async def get(self) -> str:
        """Return the secret. Raises SidecarError if it was never read.

        One that cannot be read again now is used for longer.
        """
        async with self._reading:
            now = self._clock()
            if self._value is not None and now - self._read_at < KEPT:
                return self._value
            try:
                self._value = await read_secret(
                    self._reference, self.setting, self._reader, self._is_meant
                )
            except SidecarError as error:
                if self._value is None:
                    raise
                log.warning("secret.kept", setting=self.setting, reason=describe(error))
            self._read_at = now
            return self._value

    def expire(self) -> bool:
        """Have it read again by the next `get`; False if that was done just now."""
        if self._clock() - self._read_at < READ_AGAIN:
            return False
        self._read_at = -math.inf
        return True
