"""One child process that speaks lines on its standard streams.

What it is for: starting someone else's stdio server, exchanging lines with it, and ending it with all its descendants.
What may live here: the process's life, and the texts that say why it ended.
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
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Self

from trunkline.client import keeper
from trunkline.client.environment import child_environment
from trunkline.client.keeping import own_keeping
from trunkline.client.lines import Dropped, Tail
from trunkline.client.pipes import LineReader, LineWriter, StderrReader
from trunkline.errors import MessageTooLong, TransportError

_log = logging.getLogger("trunkline.client.process")

LINE_LIMIT = 16 * 1024 * 1024
EXIT_SECONDS = 2.0
TERMINATE_SECONDS = 2.0
_KILL_SECONDS = 5.0
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


class ChildProcess:
    """A command running in its own session and process group, with lines in and out.

    On Linux no descendant outlives `close()` or our own death, even by SIGKILL: `keeper.py` says how they are found.
    On other POSIX systems that holds for the process group; a descendant that made its own session escapes. Not
    available on Windows.

    Make one with `start`; whoever starts one calls `close`.

    Example:
        child = await ChildProcess.start("uvx", ["mcp-server-time"])
        await child.send_line(b'{"jsonrpc":"2.0","id":1,"method":"ping"}')
    """

    # The event loops' own subprocess support differs in what matters here: uvloop hands copies of the pipes on to the
    # child, so that closing one is not noticed, and cannot be closed while a child runs. Hence Popen and plain pipes.

    def __init__(
        self, command: str, mark: str, process: "subprocess.Popen[bytes]", limit: int, err: StderrReader
    ) -> None:
        self.command = command
        self._loop = asyncio.get_running_loop()
        self._mark = mark
        self._process = process
        self._limit = limit
        self._stdin = LineWriter()
        self._stdout = LineReader(limit)
        self._stderr = err
        self._begun = time.monotonic()
        self._ran = 0.0
        self._exited: asyncio.Future[None] = self._loop.create_future()
        self._pidfd = -1
        self._descendants: set[int] = set()
        self._guarding = self._loop.create_task(self._guard())
        self._closing: asyncio.Task[None] | None = None

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
        mark = secrets.token_hex(12)
        environment = {**child_environment(os.environ, given), keeper.MARK_VARIABLE: mark}
        executable = _find(command, environment.get("PATH", os.defpath), cwd)
        masked = sorted(_secrets(given), key=len, reverse=True)
        process = _spawn(command, [executable, *args], environment, cwd)
        child = cls(command, mark, process, line_limit, StderrReader(masked, on_stderr))
        connecting = asyncio.ensure_future(child._connect())
        try:
            await asyncio.shield(connecting)
        except BaseException:
            await asyncio.wait([connecting])  # a pipe belongs to a transport before it can be closed
            await child.close()
            raise
        return child

    async def _connect(self) -> None:
        self._watch_exit()
        process = self._process
        await self._loop.connect_write_pipe(lambda: self._stdin, process.stdin)
        await self._loop.connect_read_pipe(lambda: self._stdout, process.stdout)
        await self._loop.connect_read_pipe(lambda: self._stderr, process.stderr)

    def _watch_exit(self) -> None:
        """Learn of the exit by a pidfd where there are pidfds (Linux), by a waiting thread elsewhere."""
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except (AttributeError, OSError):
            threading.Thread(target=self._wait_in_thread, name=f"wait {self.pid}", daemon=True).start()
        else:
            self._loop.add_reader(self._pidfd, self._note_exit)

    def _wait_in_thread(self) -> None:
        self._process.wait()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody wants to know
            self._loop.call_soon_threadsafe(self._note_exit)

    def _note_exit(self) -> None:
        self._forget_pidfd()
        if self._process.poll() is None or self._exited.done():
            return
        self._ran = time.monotonic() - self._begun
        self._exited.set_result(None)
        self._stdin.abort()
        # A descendant may hold stdout open for ever; what the process itself wrote has arrived by then.
        self._loop.call_later(_LAST_WORDS_SECONDS, self._stdout.end)

    def _forget_pidfd(self) -> None:
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    # --- what it is ---------------------------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """Its process id, which is also its process group and session."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit code, minus the signal's number when a signal ended it, None while it runs."""
        return self._process.returncode if self._exited.done() else None

    @property
    def killed(self) -> bool:
        """Whether somebody ended it by a signal; one such as SIGSEGV or SIGABRT is its own doing."""
        code = self.returncode or 0
        return code < 0 and -code in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    @property
    def stderr(self) -> Tail:
        """The last lines it wrote to stderr."""
        return self._stderr.tail

    @property
    def reason(self) -> str:
        """Why it cannot be talked to; empty while it can. Without what it wrote to stderr: callers may see this."""
        code = self.returncode
        if code is not None:
            return f"{self.command} {_how(code)} after {self._ran:.1f} s"
        if self._closing is not None:
            return f"{self.command} is being closed"
        if self._stdin.broken:
            return f"{self.command} closed its stdin"
        return f"{self.command} closed its stdout" if self._stdout.ended else ""

    def __repr__(self) -> str:
        state = "running" if self.returncode is None else _how(self.returncode)
        return f"<ChildProcess {self.command} pid={self.pid} {state}>"

    # --- lines --------------------------------------------------------------------------------------------------------

    async def send_line(self, line: bytes) -> None:
        """Write one line; waits while the child does not read.

        Parameters:
            line: without newline; one inside it is refused ("stdio": messages MUST NOT contain embedded newlines).

        Raises:
            TransportError: the child is gone or closed its stdin; `delivered` is False when nothing was written.
        """
        if b"\n" in line:
            raise ValueError("a line must not contain a newline")
        if self._stdin.broken or self._closing is not None:
            raise TransportError(self.reason, delivered=False)
        if not await self._stdin.write(line):
            await self._exit_within(_LAST_WORDS_SECONDS)
            raise TransportError(self.reason)

    async def read_line(self) -> bytes | None:
        """The next line of its stdout without newline, or None at the end. One reader at a time.

        Raises:
            MessageTooLong: a line above the limit was dropped; the next call reads on behind it.
        """
        line = await self._stdout.read()
        if isinstance(line, Dropped):
            what = f"{self.command} wrote a line of {line.size} bytes; at most {self._limit} are accepted"
            raise MessageTooLong(what, line.head, line.tail)
        if line is None:
            await self._exit_within(_LAST_WORDS_SECONDS)  # so that `reason` can tell how it ended
        return line

    async def wait(self) -> int:
        """Wait until the process itself has exited; returns its exit code. Descendants may still live until `close`."""
        await asyncio.shield(self._exited)
        return self._process.wait()

    # --- the end ------------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """End the process and all its descendants: close stdin, wait, SIGTERM, wait, SIGKILL ("stdio", Shutdown).

        Safe to call more than once and to cancel: the ending goes on, or is cut short by SIGKILL when the loop stops.
        """
        if self._closing is None:
            self._closing = self._loop.create_task(self._end())
        await asyncio.shield(self._closing)

    async def _end(self) -> None:
        try:
            known = await self._members({})
            self._stdin.finish()
            await self._exit_within(EXIT_SECONDS)
            known = await self._end_by(signal.SIGTERM, known, TERMINATE_SECONDS)
            known = await self._end_by(signal.SIGKILL, known, _KILL_SECONDS)
            if known:
                _log.error("%s: processes %s do not end even by SIGKILL", self.command, sorted(known))
        finally:
            self._let_go()
        if self._exited.done():
            self._reap_adopted()
        own_keeping().release(self._mark)

    def _let_go(self) -> None:
        self._stdin.abort()
        self._stdout.end()
        self._stderr.end()
        self._forget_pidfd()

    async def _guard(self) -> None:
        """Be cancelled when the loop stops: without an `await` left, kill everything and free the loop to close."""
        try:
            await asyncio.shield(self._exited)
        except asyncio.CancelledError:
            keeper.send_signal(signal.SIGKILL, self._groups(), keeper.living({self.pid}, [self._mark], {}))
            self._let_go()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_LAST_WORDS_SECONDS)
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
        return (self.pid,) if keeper.group_exists(self.pid) else ()

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


def _secrets(given: Mapping[str, str]) -> Iterator[str]:
    """The values that are called like secrets; each line of one that has several."""
    for name, value in given.items():
        if _SECRET_NAME.search(name):
            yield from (text for text in {value, *value.splitlines()} if len(text) >= 8)


def _spawn(
    command: str, argv: list[str], environment: dict[str, str], cwd: str | os.PathLike[str] | None
) -> "subprocess.Popen[bytes]":
    """Start the process; the keeper hears of it before and after, so that dying in between leaves nothing."""
    mark = environment[keeper.MARK_VARIABLE]
    own_keeping().expect(mark)
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(
            argv, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, env=environment, cwd=cwd, start_new_session=True
        )
    except (OSError, ValueError) as error:
        own_keeping().release(mark)
        raise TransportError(f"{command} could not be started: {error}", delivered=False) from error
    own_keeping().hold(mark, process.pid)
    return process


def _find(command: str, path: str, cwd: str | os.PathLike[str] | None) -> str:
    """The file to execute; the same on every event loop, and with errors that say what to do."""
    where = os.fspath(cwd) if cwd is not None else os.curdir
    if not os.path.isdir(where):  # noqa: PTH112
        raise TransportError(
            f"{command} could not be started: its directory {where} does not exist; fix `cwd`", delivered=False
        )
    if os.sep in command:
        found = shutil.which(os.path.abspath(os.path.join(where, command)))  # noqa: PTH100, PTH118
    else:
        found = shutil.which(command, path=path)
    if found is None:
        remedy = _REMEDIES.get(command)
        advice = f"{remedy} or fix `command`" if remedy else "fix `command`"
        raise TransportError(f"command not found: {command}; {advice}", delivered=False)
    return os.path.abspath(found)  # noqa: PTH100


def _how(code: int) -> str:
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
