"""The stdio link: a child process as a stream of messages.

What it is for: start the command a server is, and speak lines with it.
What may live here: the command and its process. What may not: message sorting, restarts, eras.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from trunkline.client.process import ChildProcess
from trunkline.errors import PeerKilled, TransportError


class StdioLink:
    """A server started as a child process.

    Parameters:
        command: the program. args: its arguments.
        env: variables added to the few the child inherits. cwd: its working directory.
        on_stderr: takes each line of its stderr.
    """

    def __init__(
        self,
        command: str,
        args: Sequence[str] = (),
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        on_stderr: Callable[[str], None] | None = None,
    ) -> None:
        self.process: ChildProcess | None = None
        self._command = command
        self._args = args
        self._env = env
        self._cwd = cwd
        self._on_stderr = on_stderr

    async def open(self) -> None:
        """Start the process."""
        self.process = await ChildProcess.start(
            self._command, self._args, env=self._env, cwd=self._cwd, on_stderr=self._on_stderr
        )

    async def send(self, message: bytes) -> None:
        """Write one line."""
        await self._child().send_line(message)

    async def receive(self) -> bytes | None:
        """The next line of its stdout.

        Raises `MessageTooLong` for a line that was dropped, `TransportError` with the reason once it has ended:
        `PeerKilled` where somebody else ended it.
        """
        child = self._child()
        line = await child.read_line()
        if line is None:
            kind = PeerKilled if child.killed else TransportError
            raise kind(child.reason or f"{self._command} closed its output")
        return line

    async def close(self) -> None:
        """End the process and all its descendants."""
        if self.process is not None:
            await self.process.close()

    def _child(self) -> ChildProcess:
        if self.process is None:
            raise TransportError(f"{self._command} is not started", delivered=False)
        return self.process
