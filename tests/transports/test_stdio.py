"""A real process over pipes, files and a terminal."""

import asyncio
import contextlib
import os
import pty
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.transports.fixture import INITIALIZED, Pipe, call, initialize, meta, request
from tests.transports.test_duplex import FILTER, begin, words
from trunkline.protocol import json
from trunkline.transports.stdio import _Writer

COMMAND = [sys.executable, "-m", "tests.transports.stage_stdio"]
ROOT = Path(__file__).resolve().parents[2]


class Process(Pipe):
    """The client end of a server process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        super().__init__(self._write, self._line)

    async def _write(self, message: bytes) -> None:
        self.process.stdin.write(message + b"\n")
        await self.process.stdin.drain()

    async def _line(self) -> bytes | None:
        return (await self.process.stdout.readline()) or None


@pytest.fixture(params=["asyncio", "uvloop"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Process]:
    pipe = asyncio.subprocess.PIPE
    command = [*COMMAND, *(["--uvloop"] if request.param == "uvloop" else [])]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=ROOT, limit=32 * 1024 * 1024
    )
    yield Process(process)
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    await process.communicate()


async def test_both_eras_in_one_process(server: Process) -> None:
    await server.send(call(1, "echo", {"text": "modern"}, modern=True))
    assert words(await server.answer(1)) == "modern"
    await begin(server)
    await server.send(call(2, "echo", {"text": "legacy"}))
    assert words(await server.answer(2)) == "legacy"


async def test_whatever_is_printed_goes_to_stderr(server: Process) -> None:
    await server.send(call(1, "shout", modern=True))
    assert words(await server.answer(1)) == "shouted, read ''"
    server.process.stdin.close()
    assert await server.process.stdout.read() == b""
    errors = await server.process.stderr.read()
    for line in (b"printed by Python", b"written to descriptor 1", b"echoed by a child", b"put by C"):
        assert line in errors


async def test_it_exits_cleanly_when_its_input_ends(server: Process) -> None:
    await server.send(call(1, "wait", modern=True))
    await server.send(request(2, "subscriptions/listen", FILTER))
    server.process.stdin.close()
    assert await asyncio.wait_for(server.process.wait(), 10) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_exits_cleanly_on_a_signal_and_ends_subscriptions_with_a_word(server: Process, number: int) -> None:
    await server.send(request(2, "subscriptions/listen", FILTER))
    await server.next()
    server.process.send_signal(number)
    assert (await server.answer(2))["result"]["resultType"] == "complete"
    assert await asyncio.wait_for(server.process.wait(), 10) == 0
    assert b"Traceback" not in await server.process.stderr.read()


async def test_a_call_that_is_too_long_for_the_end_is_answered_with_an_error(server: Process) -> None:
    await server.send(call(3, "wait", modern=True, token="t"))
    await server.next()
    server.process.send_signal(signal.SIGTERM)
    assert (await server.answer(3))["error"]["code"] == -31008
    assert await asyncio.wait_for(server.process.wait(), 10) == 0


async def test_large_messages_pass_in_both_directions(server: Process) -> None:
    big = "x" * 3_000_000
    await server.send(call(1, "echo", {"text": big}, modern=True))
    assert words(await server.answer(1)) == big


async def test_a_client_that_does_not_read_for_a_while_gets_everything(server: Process) -> None:
    for id in range(50):
        await server.send(call(id, "echo", {"text": "y" * 20_000}, modern=True))
    await asyncio.sleep(0.2)
    for _ in range(50):
        assert len(words(await server.next())) == 20_000


async def test_garbage_between_messages_is_answered_and_survived(server: Process) -> None:
    for raw in (b"garbage", b"", b"\r", b"\x00\xff", b"[" * 100_000, b"z" * (17 * 1024 * 1024)):
        await server.send(raw)
    await server.send(call("after", "echo", {"text": "fine"}, modern=True))
    assert words(await server.answer("after")) == "fine"
    errors = [message for message in server.seen if "error" in message]
    assert [error["error"]["code"] for error in errors] == [-32700] * 4


async def test_a_reader_that_leaves_ends_the_server() -> None:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*COMMAND, stdin=pipe, stdout=pipe, stderr=pipe, cwd=ROOT)
    process.stdout._transport.close()
    for id in range(3):
        process.stdin.write(call(id, "echo", {"text": "y" * 200_000}, modern=True) + b"\n")
    assert await asyncio.wait_for(process.wait(), 10) == 0
    process.stdin.close()
    await process.stderr.read()


def test_files_for_input_and_output(tmp_path: Path) -> None:
    source, sink = tmp_path / "in", tmp_path / "out"
    source.write_bytes(b"\n".join([initialize(), INITIALIZED, request(1, "ping"), call(2, "echo", {"text": "last"})]))
    with source.open("rb") as stdin, sink.open("wb") as stdout:
        done = subprocess.run(COMMAND, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, cwd=ROOT, timeout=30)
    assert done.returncode == 0, done.stderr
    answers = [json.plain(line) for line in sink.read_bytes().splitlines()]
    assert [answer["id"] for answer in answers] == [0, 1, 2]


def test_an_empty_input() -> None:
    done = subprocess.run(COMMAND, stdin=subprocess.DEVNULL, capture_output=True, cwd=ROOT, timeout=30)
    assert (done.returncode, done.stdout) == (0, b"")


def test_a_terminal() -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(COMMAND, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, cwd=ROOT) as process:
        os.close(theirs)
        os.write(ours, request(1, "tools/list", {"_meta": meta()}) + b"\n")
        seen = b""
        while b'"result"' not in seen:
            seen += os.read(ours, 65536)
        os.write(ours, b"\x04")
        assert process.wait(10) == 0
    os.close(ours)


async def test_a_call_cancelled_within_its_line_leaves_the_lines_of_others_whole() -> None:
    source, sink = os.pipe()
    writer = _Writer(sink, lambda: None)
    first = asyncio.create_task(writer.write(b"x" * 300_000))
    await asyncio.sleep(0.01)
    first.cancel()
    second = asyncio.create_task(writer.write(b"whole"))
    lines = b""
    while not lines.endswith(b"whole\n"):
        lines += await asyncio.to_thread(os.read, source, 65536)
    await second
    os.close(source)
    os.close(sink)

    assert lines.split(b"\n") == [b"x" * 300_000, b"whole", b""]
