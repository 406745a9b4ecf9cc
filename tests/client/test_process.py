"""Real child processes, on both event loops: lines, limits, endings, and nothing left behind."""

import asyncio
import contextlib
import os
import signal
import sys
import textwrap
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import TypeVar

import pytest
import uvloop

from trunkline.client.environment import child_environment
from trunkline.client.keeping import own_keeping
from trunkline.client.lines import Dropped, LineSplitter, Tail
from trunkline.client.process import ChildProcess
from trunkline.errors import MessageTooLong, TransportError

T = TypeVar("T")
Run = Callable[[Coroutine[object, object, T]], T]

ECHO = "import sys\nfor line in sys.stdin.buffer: sys.stdout.buffer.write(line); sys.stdout.buffer.flush()"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)

# Writes its pid to a directory, makes a child, which makes a double-forked one in a session of its own; all are deaf.
CLAN = """
import os, signal, sys, time
def record():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    open(os.path.join(sys.argv[1], str(os.getpid())), "w").close()
record()
if os.fork() == 0:
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            record()
            time.sleep(600)
        os._exit(0)
    os.wait()
    record()
    time.sleep(600)
while len(os.listdir(sys.argv[1])) < int(sys.argv[2]):
    time.sleep(0.01)
print("up", flush=True)
time.sleep(600)
"""


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run[object]:
    def runs(main: Coroutine[object, object, T]) -> T:
        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(main)

    return runs


def python(code: str, *args: str, **options: object) -> Awaitable[ChildProcess]:
    return ChildProcess.start(sys.executable, ["-c", textwrap.dedent(code), *args], **options)  # type: ignore[arg-type]


def state(pid: int) -> str:
    """The state letter of a process; empty when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def running(pids: list[int]) -> list[int]:
    return [pid for pid in pids if state(pid) not in ("", "Z", "X")]


def zombies() -> list[int]:
    """Zombie children of this process."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] == "Z" and int(fields[1]) == os.getpid():
                found.append(int(entry.name))
    return found


def wait_until(condition: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.02)


# --- lines ------------------------------------------------------------------------------------------------------------


def test_lines_go_in_and_out_and_the_end_is_none(run: Run[object]) -> None:
    async def main() -> None:
        child = await python(ECHO)
        await child.send_line(b'{"a":1}')
        await child.send_line("ä".encode())
        assert await child.read_line() == b'{"a":1}'
        assert await child.read_line() == "ä".encode()
        await child.close()
        assert await child.read_line() is None
        assert child.returncode == 0

    run(main())


def test_garbage_is_handed_on_and_the_last_line_needs_no_newline(run: Run[object]) -> None:
    async def main() -> None:
        child = await python(r"import sys; sys.stdout.buffer.write(b'\xff\x00garbage\n\nWelcome!\n{}')")
        assert [await child.read_line() for _ in range(5)] == [b"\xff\x00garbage", b"", b"Welcome!", b"{}", None]
        await child.close()

    run(main())


def test_a_line_above_the_limit_is_dropped_and_the_next_one_arrives(run: Run[object]) -> None:
    async def main() -> None:
        child = await python("print('x' * 5_000_000); print('ok')", line_limit=1_000_000)
        with pytest.raises(MessageTooLong, match="5000000 bytes"):
            await child.read_line()
        assert await child.read_line() == b"ok"
        await child.close()

    run(main())


def test_a_line_of_megabytes_passes_whole(run: Run[object]) -> None:
    async def main() -> None:
        child = await python(ECHO)
        line = b"y" * 8_000_000
        sending = asyncio.ensure_future(child.send_line(line))
        assert await child.read_line() == line
        await sending
        await child.close()

    run(main())


def test_a_child_that_floods_us_is_slowed_down_not_stored(run: Run[object]) -> None:
    async def main() -> None:
        child = await python(
            "import sys\nfor n in range(400): sys.stdout.write('z' * 99_999 + '\\n'); sys.stderr.write(f'{n}\\n')"
        )
        await asyncio.sleep(0.5)
        assert child.returncode is None  # it waits for us: 40 MB do not fit
        count = 0
        while await child.read_line() is not None:
            count += 1
        assert count == 400
        await child.close()

    run(main())


def test_sending_waits_while_the_child_does_not_read(run: Run[object]) -> None:
    async def main() -> None:
        child = await python("import time; time.sleep(600)")
        sending = asyncio.ensure_future(child.send_line(b"x" * 4_000_000))
        await asyncio.sleep(0.3)
        assert not sending.done()
        await child.close()
        with pytest.raises(TransportError):
            await sending

    run(main())


def test_a_newline_inside_a_line_is_refused(run: Run[object]) -> None:
    async def main() -> None:
        child = await python(ECHO)
        with pytest.raises(ValueError, match="newline"):
            await child.send_line(b"a\nb")
        await child.close()

    run(main())


def test_sending_to_a_child_that_closed_its_stdin_says_so(run: Run[object]) -> None:
    async def main() -> None:
        child = await python("import os, time; os.close(0); print('closed', flush=True); time.sleep(600)")
        assert await child.read_line() == b"closed"
        with pytest.raises(TransportError, match="closed its stdin"):
            for _ in range(100):
                await child.send_line(b"x" * 1000)
                await asyncio.sleep(0.01)
        await child.close()

    run(main())


# --- how it ended -----------------------------------------------------------------------------------------------------


def test_an_exit_is_explained_with_code_time_and_stderr(run: Run[object]) -> None:
    async def main() -> None:
        heard: list[str] = []
        child = await python(
            r"import sys; sys.stderr.write('one\n\x1b[31mcannot find\x1b[0m the door\rno newline'); sys.exit(3)",
            on_stderr=heard.append,
        )
        assert await child.read_line() is None
        assert await child.wait() == 3
        await child.close()
        assert heard == ["one", "cannot find the door", "no newline"]
        assert child.reason.startswith(f"{sys.executable} exited with code 3 after ")
        assert "door" not in child.reason
        assert child.stderr.last(3) == ("one", "cannot find the door", "no newline")
        with pytest.raises(TransportError, match="exited with code 3"):
            await child.send_line(b"{}")

    run(main())


def test_a_signal_is_named(run: Run[object]) -> None:
    async def main() -> None:
        child = await python("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
        assert await child.wait() == -signal.SIGKILL
        assert "was killed by SIGKILL" in child.reason
        await child.close()

    run(main())


def test_what_cannot_be_started_says_what_to_do(run: Run[object], tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(TransportError, match=r"command not found: npx; install Node\.js or fix `command`"):
            await ChildProcess.start("npx", env={"PATH": str(tmp_path)})
        with pytest.raises(TransportError, match="command not found: no-such-thing; fix `command`"):
            await ChildProcess.start("no-such-thing")
        with pytest.raises(TransportError, match="gone does not exist; fix `cwd`"):
            await ChildProcess.start("sh", cwd=tmp_path / "gone")
        script = tmp_path / "script"
        script.write_text("#!/no/such/interpreter")
        script.chmod(0o755)
        with pytest.raises(TransportError, match="could not be started"):
            await ChildProcess.start("./script", cwd=tmp_path)

    run(main())


def test_output_ends_with_the_process_although_a_descendant_holds_the_pipe(run: Run[object]) -> None:
    async def main() -> None:
        child = await ChildProcess.start("sh", ["-c", "sleep 600 & echo $!"])
        sleeper = int(await child.read_line() or b"0")
        assert await child.read_line() is None
        await child.close()
        assert running([sleeper]) == []

    run(main())


# --- environment ------------------------------------------------------------------------------------------------------


def test_only_the_safe_part_of_our_environment_is_inherited(
    run: Run[object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRUNKLINE_TEST_TOKEN", "not for children")
    monkeypatch.setenv("LC_TIME", "C")

    async def main() -> None:
        child = await python(
            "import os; e = os.environ; print(e.get('TRUNKLINE_TEST_TOKEN'), e['LC_TIME'], e['A'], os.getcwd())",
            env={"A": "b"},
            cwd=tmp_path,
        )
        assert await child.read_line() == f"None C b {tmp_path}".encode()
        await child.close()

    run(main())


def test_inheritance_is_a_list() -> None:
    handed_on = {
        "HOME",
        "LANG",
        "LC_ALL",
        "NO_PROXY",
        "UV_INDEX_URL",
        "XDG_CACHE_HOME",
        "https_proxy",
        "npm_config_registry",
    }
    withheld = {"UV_PUBLISH_TOKEN", "AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "VIRTUAL_ENV", "PYTHONPATH", "foo_proxy"}
    own = dict.fromkeys(handed_on | withheld, "1")
    kept = child_environment({**own, "SHELL": "() { :; }"}, {"PATH": "2"})
    assert kept.keys() == handed_on | {"PATH"}
    assert kept["PATH"] == "2"


def test_a_secret_given_to_the_child_does_not_come_back_through_stderr(run: Run[object]) -> None:
    async def main() -> None:
        child = await python(
            "import os, sys; sys.exit('bad token ' + os.environ['API_TOKEN'])", env={"API_TOKEN": "s3cr3t-s3cr3t"}
        )
        await child.wait()
        await child.close()
        assert child.stderr.last() == ("bad token ***",)
        assert "s3cr3t" not in repr(child) + child.reason

    run(main())


# --- endings ----------------------------------------------------------------------------------------------------------


def test_a_deaf_child_is_killed(run: Run[object]) -> None:
    async def main() -> None:
        child = await python(STUBBORN)
        assert await child.read_line() == b"up"
        await child.close()
        assert child.returncode == -signal.SIGKILL
        assert state(child.pid) == ""

    run(main())


def test_close_ends_descendants_that_left_group_session_and_parent(run: Run[object], tmp_path: Path) -> None:
    async def main() -> None:
        child = await python(CLAN, str(tmp_path), "3")
        assert await child.read_line() == b"up"
        pids = [int(path.name) for path in tmp_path.iterdir()]
        assert len(running(pids)) == 3
        await asyncio.gather(child.close(), child.close())
        assert running(pids) == []

    run(main())


def test_a_cancelled_close_goes_on_and_a_stopped_loop_leaves_nothing(run: Run[object], tmp_path: Path) -> None:
    pids: list[int] = []

    async def main() -> None:
        child = await python(CLAN, str(tmp_path), "3")
        assert await child.read_line() == b"up"
        pids.extend(int(path.name) for path in tmp_path.iterdir())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(child.close(), 0.1)

    run(main())
    wait_until(lambda: running(pids) == [])


def test_a_cancelled_start_leaves_nothing(run: Run[object]) -> None:
    before = set(os.listdir("/proc"))

    async def main() -> None:
        for delay in (0, 0.001, 0.005):
            starting = asyncio.ensure_future(python("import sys; sys.stdin.read()  # started in vain"))
            await asyncio.sleep(delay)
            starting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await (await starting).close()

    run(main())
    assert zombies() == []
    marked = [pid for pid in set(os.listdir("/proc")) - before if pid.isdigit() and b"started in vain" in cmdline(pid)]
    assert running([int(pid) for pid in marked]) == []


def cmdline(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_fifty_cycles_leave_no_zombie_and_no_descriptor(run: Run[object]) -> None:
    async def cycle() -> None:
        child = await python("import sys; sys.stdin.read()")
        await child.close()

    async def main() -> None:
        await cycle()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(10):
            await asyncio.gather(*(cycle() for _ in range(5)))
        assert len(os.listdir("/proc/self/fd")) <= before
        assert zombies() == []

    run(main())


# --- our own death ----------------------------------------------------------------------------------------------------

PARENT = """
import asyncio, sys, uvloop
from trunkline.client.process import ChildProcess
async def main():
    children = [await ChildProcess.start(sys.executable, ["-c", {code!r}, {folder!r}, str(3 * n)]) for n in (1, 2)]
    for child in children:
        await child.read_line()
    print("up", flush=True)
    {then}
with asyncio.Runner(loop_factory={loop}) as runner:
    runner.run(main())
"""


def start_parent(code: str) -> "asyncio.Future[asyncio.subprocess.Process]":
    return asyncio.ensure_future(
        asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    )


async def end_of_parent(code: str, number: signal.Signals | None) -> None:
    parent = await start_parent(code)
    assert parent.stdout is not None
    assert await parent.stdout.readline() == b"up\n"
    if number is not None:
        parent.send_signal(number)
    await parent.wait()


@pytest.mark.parametrize("loop", ["asyncio.new_event_loop", "uvloop.new_event_loop"])
@pytest.mark.parametrize(
    ("then", "number"),
    [
        ("await asyncio.sleep(600)", signal.SIGKILL),
        ("await asyncio.sleep(600)", signal.SIGTERM),
        ("import os; os._exit(1)", None),
        ("return", None),
    ],
    ids=["sigkill", "sigterm", "os._exit", "without close"],
)
def test_nothing_outlives_us(loop: str, then: str, number: signal.Signals | None, tmp_path: Path) -> None:
    asyncio.run(end_of_parent(PARENT.format(loop=loop, code=CLAN, folder=str(tmp_path), then=then), number))
    pids = [int(path.name) for path in tmp_path.iterdir()]
    assert len(pids) == 6
    wait_until(lambda: running(pids) == [])


def test_a_killed_keeper_is_replaced_and_told_everything(tmp_path: Path) -> None:
    then = (
        "import os, signal; from trunkline.client.keeping import own_keeping;"
        "os.kill(own_keeping().pid, signal.SIGKILL); await asyncio.sleep(0.2);"
        "await (await ChildProcess.start('true')).close(); os._exit(1)"
    )
    code = PARENT.format(loop="None", code=CLAN, folder=str(tmp_path), then=then)
    asyncio.run(end_of_parent(code, None))
    pids = [int(path.name) for path in tmp_path.iterdir()]
    wait_until(lambda: running(pids) == [])


def test_one_small_keeper_serves_all_children(run: Run[object]) -> None:
    async def main() -> None:
        first, second = await asyncio.gather(python(ECHO), python(ECHO))
        keeper = own_keeping().pid
        assert keeper is not None
        resident = int(Path(f"/proc/{keeper}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        assert resident < 16 * 1024 * 1024
        await asyncio.gather(first.close(), second.close())
        assert own_keeping().pid == keeper

    run(main())


ADOPTING = """
import asyncio, ctypes, os, sys
from trunkline.client.process import ChildProcess
PR_SET_CHILD_SUBREAPER = 36
assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
async def main():
    child = await ChildProcess.start(sys.executable, ["-c", {code!r}, {folder!r}, "3"])
    await child.read_line()
    await child.close()
    print("up", flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


async def test_orphans_handed_to_us_as_process_1_of_a_container_are_reaped(tmp_path: Path) -> None:
    parent = await start_parent(ADOPTING.format(code=CLAN, folder=str(tmp_path)))
    assert parent.stdout is not None
    try:
        assert await parent.stdout.readline() == b"up\n"
        assert [state(int(path.name)) for path in tmp_path.iterdir()] == ["", "", ""]
    finally:
        parent.kill()
        await parent.wait()


# --- pure parts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_lines_do_not_depend_on_how_the_bytes_arrive(size: int) -> None:
    data = b"one\n\n12345678\n123456789\ntwo\r\nrest"
    splitter = LineSplitter(8)
    lines: list[bytes | Dropped] = []
    for start in range(0, len(data), size):
        lines += splitter.feed(data[start : start + size])
    dropped = Dropped(9, b"123456789", b"123456789")
    assert lines + splitter.finish() == [b"one", b"", b"12345678", dropped, b"two\r", b"rest"]


@pytest.mark.parametrize("size", [1, 100, 300, 10_000])
def test_of_a_line_that_is_too_long_both_ends_are_kept(size: int) -> None:
    line = b"".join(b"%d," % n for n in range(1000))
    splitter = LineSplitter(500)
    lines: list[bytes | Dropped] = []
    for start in range(0, len(line), size):
        lines += splitter.feed(line[start : start + size])
    assert lines + splitter.feed(b"\n{}\n") == [Dropped(len(line), line[:256], line[-256:]), b"{}"]


def test_a_tail_is_bounded_in_lines_and_characters() -> None:
    tail = Tail(lines=3, characters=10)
    for n in range(100):
        tail.add(f"line {n}")
    assert tail.last() == ("line 99",)
    tail.add("x" * 1000)
    assert tail.last() == ("x" * 10,)
    assert Tail().last(5) == ()
