"""SIGHUP: read the configuration again, or the terminal is gone.

What it is for: telling the two apart, in whatever process the signal arrives.
What may live here: that. What may not: what is read.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def on_hangup(reload: Callable[[], None]) -> Iterator[None]:
    """Call `reload` on SIGHUP while the block runs; when it comes because the terminal was closed, end the process."""
    if not hasattr(signal, "SIGHUP"):
        yield
        return
    loop = asyncio.get_running_loop()
    had_terminal = _has_terminal()

    def hung_up() -> None:
        if had_terminal and not _has_terminal():
            # The terminal was closed, which is meant to end what runs in it.
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            reload()

    loop.add_signal_handler(signal.SIGHUP, hung_up)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


def _has_terminal() -> bool:
    try:
        os.close(os.open(os.ctermid(), os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
