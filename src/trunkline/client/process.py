"""One child process that speaks lines on its standard streams.

What it is for: starting someone else's stdio server, exchanging lines with it, and ending it with all its descendants.
What may live here: the process's life, its three pipes, backpressure, the texts that say why it ended.
What may not: JSON, MCP messages, restarting (`gateway/supervision.py`).
"""

import asyncio
import contextlib
import logging
import os
import re
import secrets
import shutil
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Self, cast

from trunkline.client import keeper
from trunkline.client.environment import child_environment
from trunkline.client.keeping import own_keeping
from trunkline.client.lines import LineSplitter, Tail
from trunkline.errors import MessageTooLong, TransportError

_log = logging.getLogger("trunkline.client.process")

LINE_LIMIT = 16 * 1024 * 1024
EXIT_SECONDS = 2.0
TERMINATE_SECONDS = 2.0
_KILL_SECONDS = 5.0
_STDERR_LINE = 65_536
_UNREAD_HIGH = 4 * 1024 * 1024
_LINE_OVERHEAD = 64
_LAST_WORDS_SECONDS = 0.5

_REMEDIES = {
    "npx": "install Node.js",
    "npm": "install Node.js",
    "node": "install Node.js",
    "uvx": "install uv",
    "uv": "install uv",
    "docker": "install Docker",
    "bunx": "install Bun",
    "bun": "install Bun",
    "deno": "install Deno",
}
_SECRET_NAME = re.compile(r"(?i)token|key|secret|pass|auth|cred|dsn|url")


class ChildProcess(asyncio.SubprocessProtocol):
    """A command running in its own session and process group, with lines in and out.

    On Linux no descendant outlives `close()` or our own death, even by SIGKILL: `keeper.py` says how they are found.
    On other POSIX systems that holds for the process group; a descendant that made its own session escapes. Not
    available on Windows.

    Make one with `start`; whoever starts one calls `close`.

    Example:
        child = await ChildProcess.start("uvx", ["mcp-server-time"])
        await child.send_line(b'{"jsonrpc":"2.0","id":1,"method":"ping"}')
    """

    def __init__(self, command: str, line_limit: int, on_stderr: Callable[[str], None] | None) -> None:
        self.command = command
        self.stderr = Tail()
        self._loop = asyncio.get_running_loop()
        self._mark = secrets.token_hex(12)
        self._masked: tuple[str, ...] = ()
        self._on_stderr = on_stderr
        self._limit = line_limit
        self._splitters = {1: LineSplitter(line_limit), 2: LineSplitter(_STDERR_LINE)}
        self._lines: deque[bytes | int] = deque()
        self._unread = 0
        self._reading_paused = False
        self._readable: asyncio.Future[None] | None = None
        self._output_ended = False
        self._writable: asyncio.Future[None] | None = None
        self._input_broken = False
        self._begun = time.monotonic()
        self._ran = 0.0
        self._exited: asyncio.Future[None] = self._loop.create_future()
        self._descendants: set[int] = set()
        self._closing: asyncio.Task[None] | None = None
        self._guarding: asyncio.Task[None] | None = None
        self._transport: asyncio.SubprocessTransport | None = None
        self._stdin: asyncio.WriteTransport | None = None

    @classmethod
    async def start(
        cls,
        command: str,
        args: Sequence[str] = (),
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        line_limit: int = LINE_LIMIT,
        on_stderr: Callable[[str], None] | None = None,
    ) -> Self:
        """Start `command` with `args`, without a shell.

        Parameters:
            command: a name looked up in the child's PATH, or a path (a relative one counts from `cwd`).
            env: variables set for the child, over the few it inherits from us (`environment.INHERITED`).
            cwd: its working directory; ours when None.
            line_limit: longest line accepted on its stdout, in bytes.
            on_stderr: called with every line it writes to stderr.

        Raises:
            TransportError: there is no such command or directory, or it cannot be executed.
        """
        given = dict(env or {})
        environment = child_environment(os.environ, given)
        executable = _find(command, environment.get("PATH", os.defpath), cwd)
        child = cls(command, line_limit, on_stderr)
        child._masked = tuple(value for name, value in given.items() if len(value) >= 8 and _SECRET_NAME.search(name))
        environment[keeper.MARK_VARIABLE] = child._mark
        await child._spawn([executable, *args], environment, cwd)
        return child

    async def _spawn(self, argv: list[str], environment: dict[str, str], cwd: str | os.PathLike[str] | None) -> None:
        own_keeping().expect(self._mark)
        spawning = asyncio.ensure_future(
            self._loop.subprocess_exec(lambda: self, *argv, env=environment, cwd=cwd, start_new_session=True)
        )
        try:
            await asyncio.shield(spawning)
        except asyncio.CancelledError:
            with contextlib.suppress(Exception):
                await spawning
            await self.close()
            raise
        except (OSError, ValueError) as error:
            own_keeping().release(self._mark)
            raise TransportError(f"{self.command} could not be started: {error}") from error

    # --- what it is ---------------------------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """Its process id, which is also its process group and session."""
        return 0 if self._transport is None else self._transport.get_pid()

    @property
    def returncode(self) -> int | None:
        """Its exit code, minus the signal's number when a signal ended it, None while it runs."""
        return None if self._transport is None else self._transport.get_returncode()

    @property
    def reason(self) -> str:
        """Why it cannot be talked to, without what it wrote to stderr: this may be shown to callers."""
        code = self.returncode
        if code is None:
            return f"{self.command} closed its standard streams" if self._input_broken or self._output_ended else ""
        return f"{self.command} {_how(code)} after {self._ran:.1f} s"

    @property
    def diagnosis(self) -> str:
        """`reason` and the last stderr lines: for the operator, who may see what the process wrote."""
        last = " | ".join(self.stderr.last(3))
        return f"{self.reason}; last stderr: {last}" if last else self.reason

    def __repr__(self) -> str:
        state = "running" if self.returncode is None else _how(self.returncode)
        return f"<ChildProcess {self.command} pid={self.pid} {state}>"

    # --- lines --------------------------------------------------------------------------------------------------------

    async def send_line(self, line: bytes) -> None:
        """Write one line; waits while the child does not read.

        Parameters:
            line: without newline; one inside it is refused ("stdio": messages MUST NOT contain embedded newlines).

        Raises:
            TransportError: the child is gone or closed its stdin.
        """
        if b"\n" in line:
            raise ValueError("a line must not contain a newline")
        stdin = self._stdin
        if stdin is None or self._input_broken or self._closing is not None:
            raise TransportError(self.reason or f"{self.command} is being closed")
        stdin.write(line + b"\n")
        while self._writable is not None:
            await asyncio.shield(self._writable)
        if self._input_broken:
            raise TransportError(self.reason)

    async def read_line(self) -> bytes | None:
        """The next line of its stdout without newline, or None at the end. One reader at a time.

        Raises:
            MessageTooLong: a line above the limit was dropped; the next call reads on behind it.
        """
        while not self._lines:
            if self._output_ended:
                return None
            self._readable = self._loop.create_future()
            await self._readable
        line = self._lines.popleft()
        if isinstance(line, int):
            raise MessageTooLong(f"{self.command} wrote a line of {line} bytes; at most {self._limit} are accepted")
        self._unread -= len(line) + _LINE_OVERHEAD
        if self._reading_paused and self._unread <= _UNREAD_HIGH // 2:
            self._pause_reading(False)
        return line

    async def wait(self) -> int:
        """Wait until the process itself has exited; returns its exit code. Descendants may still live until `close`."""
        await asyncio.shield(self._exited)
        return cast("int", self.returncode)

    # --- the end ------------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """End the process and all its descendants: close stdin, wait, SIGTERM, wait, SIGKILL ("stdio", Shutdown).

        Safe to call more than once and to cancel: the ending goes on, or is cut short by SIGKILL when the loop stops.
        """
        if self._closing is None:
            self._closing = self._loop.create_task(self._end())
        await asyncio.shield(self._closing)

    async def _end(self) -> None:
        known: keeper.Processes = {}
        if self._transport is None:
            return
        try:
            known = await self._members(known)
            if self._stdin is not None:
                self._stdin.close()
            await self._exit_within(EXIT_SECONDS)
            known = await self._end_by(signal.SIGTERM, known, TERMINATE_SECONDS)
            known = await self._end_by(signal.SIGKILL, known, _KILL_SECONDS)
            if known:
                _log.error("%s: processes %s do not end even by SIGKILL", self.command, sorted(known))
        finally:
            self._transport.close()
            self._wake_reader(ended=True)
        await self._exit_within(_KILL_SECONDS)
        if self._exited.done():
            self._reap_adopted()
        own_keeping().release(self._mark)

    async def _guard(self) -> None:
        """Be cancelled when the loop stops: without an `await` left, kill everything and free the loop to close."""
        try:
            await asyncio.shield(self._exited)
        except asyncio.CancelledError:
            keeper.send_signal(signal.SIGKILL, self._groups(), keeper.living({self.pid}, [self._mark], {}))
            if self._transport is not None:
                self._transport.close()
            raise

    async def _end_by(self, number: signal.Signals, known: keeper.Processes, seconds: float) -> keeper.Processes:
        """Signal every living member, also those that appear meanwhile, and wait for the last to go."""
        until = time.monotonic() + seconds
        pause = 0.01
        signalled: set[int] = set()
        while True:
            known = await self._members(known)
            if not known and not self._groups():
                return known
            fresh = known.keys() - signalled
            keeper.send_signal(number, () if signalled else self._groups(), fresh)
            signalled |= fresh or {0}
            if time.monotonic() >= until:
                return known
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.1)

    async def _members(self, known: keeper.Processes) -> keeper.Processes:
        found = await asyncio.to_thread(keeper.living, {self.pid}, [self._mark], known)
        self._descendants.update(found)
        return found

    def _groups(self) -> tuple[int, ...]:
        """Our process group while it may be signalled: its id stays reserved as long as it has a member."""
        if sys.platform == "linux" and self._exited.done():
            return ()  # /proc named the members; zombies that nobody reaps would keep the group forever
        return (self.pid,) if self.pid and keeper.group_exists(self.pid) else ()

    async def _exit_within(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.shield(self._exited)

    def _reap_adopted(self) -> None:
        """Reap descendants that were handed to us, which happens when we are process 1 of a container."""
        for pid in (-self.pid, *self._descendants - {self.pid}):
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(pid, os.WNOHANG)[0]:
                    pass

    # --- what the event loop tells ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.SubprocessTransport", transport)
        self._stdin = cast("asyncio.WriteTransport | None", self._transport.get_pipe_transport(0))
        own_keeping().hold(self._mark, self.pid)
        self._guarding = self._loop.create_task(self._guard())

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 2:
            self._hear(self._splitters[2].feed(data.replace(b"\r", b"\n")))
            return
        lines = self._splitters[1].feed(data)
        self._lines.extend(lines)
        self._unread += sum(len(line) + _LINE_OVERHEAD for line in lines if isinstance(line, bytes))
        if self._unread > _UNREAD_HIGH and not self._reading_paused:
            self._pause_reading(True)
        if lines:
            self._wake_reader()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == 0:
            self._input_broken = True
            self.resume_writing()
        elif fd == 1:
            self._end_output()
        else:
            self._hear(self._splitters[2].finish())

    def process_exited(self) -> None:
        self._ran = time.monotonic() - self._begun
        self._input_broken = True
        self.resume_writing()
        if not self._exited.done():
            self._exited.set_result(None)
        # A descendant may hold stdout open for ever; what the process itself wrote has arrived by then.
        self._loop.call_later(_LAST_WORDS_SECONDS, self._end_output)

    def pause_writing(self) -> None:
        if self._writable is None and not self._input_broken:
            self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        waiting, self._writable = self._writable, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def _end_output(self) -> None:
        if not self._output_ended:
            self._lines.extend(self._splitters[1].finish())
            self._wake_reader(ended=True)

    def _wake_reader(self, ended: bool = False) -> None:
        self._output_ended = self._output_ended or ended
        waiting, self._readable = self._readable, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def _pause_reading(self, pause: bool) -> None:
        if self._transport is None:
            return
        pipe = cast("asyncio.ReadTransport | None", self._transport.get_pipe_transport(1))
        if pipe is not None and not pipe.is_closing():
            self._reading_paused = pause
            (pipe.pause_reading if pause else pipe.resume_reading)()

    def _hear(self, lines: Iterable[bytes | int]) -> None:
        for line in lines:
            text = f"(a line of {line} bytes)" if isinstance(line, int) else line.decode(errors="replace")
            for secret in self._masked:
                text = text.replace(secret, "***")
            kept = self.stderr.add(text)
            if kept and self._on_stderr is not None:
                self._on_stderr(kept)


def _find(command: str, path: str, cwd: str | os.PathLike[str] | None) -> str:
    """The file to execute; the same on every event loop, and with errors that say what to do."""
    where = os.fspath(cwd) if cwd is not None else os.curdir
    if not os.path.isdir(where):  # noqa: PTH112
        raise TransportError(f"{command} could not be started: its directory {where} does not exist; fix `cwd`")
    if os.sep in command:
        found = shutil.which(os.path.abspath(os.path.join(where, command)))  # noqa: PTH100, PTH118
    else:
        found = shutil.which(command, path=path)
    if found is None:
        remedy = _REMEDIES.get(command)
        advice = f"{remedy} or fix `command`" if remedy else "fix `command`"
        raise TransportError(f"command not found: {command}; {advice}")
    return os.path.abspath(found)  # noqa: PTH100


def _how(code: int) -> str:
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
