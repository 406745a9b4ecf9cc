"""The keys of a key file, as they are now.

What it is for: replicas seal and open with the same keys, and a rotation is noticed by no client.
What may live here: following the file while an application runs. What may not: the file's format, cryptography.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

from trunkline.engine.sealed import Keys
from trunkline.errors import ConfigError
from trunkline.runtime.application import Application
from trunkline.storage.keyfile import KeyFile

logger = logging.getLogger("trunkline.transports")

_LOOK = 5.0
"""Seconds between two looks at the file; far shorter than the time a new key waits before anybody seals with it."""


class FollowedKeys(Keys):
    """A key ring that is what its file says.

    Parameters:
        path: of the key file.
        look: seconds between two looks at it.

    Raises `ConfigError` for a file that cannot be used; one that becomes so later changes nothing and is logged.

        keys = FollowedKeys(Path("keys.json"))
        keys.follow_with(application)
    """

    def __init__(self, path: Path, look: float = _LOOK) -> None:
        self._file = KeyFile(path)
        self._look = look
        super().__init__(self._file.ring(time.time()))

    def follow_with(self, application: Application) -> None:
        """Follow the file for as long as the application runs."""
        application.join(self._begin)

    def _begin(self) -> Callable[[], None]:
        task = asyncio.get_running_loop().create_task(self._follow(), name="trunkline-keys")

        def end() -> None:
            task.cancel()

        return end

    async def _follow(self) -> None:
        ring: list[bytes] = []
        while True:
            try:
                self._file.refresh()
            except ConfigError as error:
                logger.warning("%s; the keys stay as they were", error)
            # Also without a change of the file: the time of a key that was in it has come.
            if (now := self._file.ring(time.time())) != ring:
                self.replace(now)
                ring = now
            await asyncio.sleep(self._look)
