"""Bad and nearly good input over stdio: short form. The long one is tests/soak/test_fuzz.py."""

import json

import pytest

from tests.fuzz import corpus
from tests.fuzz.lines import feed, stdio_target
from tests.fuzz.running import good_call

SEED, INPUTS = 20260728, 800


async def test_bad_lines_hurt_nobody():
    async with stdio_target(SEED) as pipe:
        await feed(pipe, SEED, 0, INPUTS)
        assert pipe.faults == []
        assert pipe.calls == INPUTS // 5
        assert {-32700, -32600, -32601, -32602} <= set(pipe.errors)
        assert await pipe.end() == 0


async def test_every_named_bad_message_is_refused_on_stdio_too():
    async with stdio_target() as pipe:
        for number, case in enumerate(one for one in corpus.load("http") if "body" in one):
            await pipe.line(corpus.body_of(case).replace(b"\n", b" "))
            await pipe.good(number)
        await pipe.settle()
        assert pipe.faults == []
        assert pipe.trouble() == []


async def test_a_line_above_the_limit_is_refused_and_the_next_one_answered():
    async with stdio_target() as pipe:
        await pipe.write(b'{"jsonrpc":"2.0","id":1,"method":"' + b"x" * (17 * 2**20) + b'"}\n')
        await pipe.good(1)
        await pipe.settle()
        assert pipe.errors[-32700] == 1
        assert pipe.faults == []


@pytest.mark.parametrize(
    "last",
    [
        b"",
        b'{"jsonrpc":"2.0","id":1,"me',
        json.dumps(good_call(1, 1)).encode(),
        b"\xff\xfe\0",
        b"\n" * 1000,
        json.dumps(
            {**good_call(1, 1), "params": {**good_call(1, 1)["params"], "name": "slow", "arguments": {}}}
        ).encode()
        + b"\n",
    ],
    ids=["nothing", "half a message", "a message without its newline", "noise", "blank lines", "a call in flight"],
)
async def test_the_server_ends_with_its_input(last: bytes):
    async with stdio_target() as pipe:
        await pipe.good(1)
        await pipe.settle()
        await pipe.write(last)
        assert await pipe.end() == 0
        assert pipe.faults == []
        assert pipe.trouble() == []


async def test_the_server_ends_when_nobody_reads_its_output():
    async with stdio_target() as pipe:
        await pipe.good(1)
        await pipe.settle()
        pipe.process._transport.get_pipe_transport(1).close()
        for number in range(50):
            await pipe.write(json.dumps(good_call(number, number)).encode() + b"\n")
        assert await pipe.end() == 0
        assert pipe.trouble() == []
