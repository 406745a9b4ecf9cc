"""Whose question it is, where nothing on the wire says so: a real legacy server over stdio, two calls of one caller."""

import asyncio
import contextlib
import sys

import pytest

from tests.gateway.callers import ALICE, Caller, descendants, gateway, until
from tests.gateway.test_http import FAST
from trunkline.errors import UpstreamUnavailable
from trunkline.gateway import Federation, Limits
from trunkline.gateway.dialling import Connection, Dialler
from trunkline.gateway.sessions import Session, Sessions
from trunkline.portable.model import Entry

ASKED = {"elicitation": {"form": {}}}


@contextlib.asynccontextmanager
async def asking(folder, **limits):
    """An engine over a legacy server with `processes: per-call`; yields it, the federation, what was noted."""
    log = folder / "noted"
    log.touch()
    script = ("-m", "tests.gateway.slow", str(log))
    entry = Entry("slow", "stdio", command=sys.executable, args=script, processes="per-call")
    dial = Dialler({"name": "gateway", "version": "0"}, era="legacy")
    federation = Federation([entry], dial=dial, backoff=FAST, limits=Limits(**limits))
    async with gateway(federation) as engine:
        yield engine, federation, lambda: log.read_text().splitlines()
    assert descendants(str(log)) == set()


def caller_of(engine, revision, answer):
    answers = {"elicitation/create": {"action": "accept", "content": {"s": answer}}}
    return Caller(engine, revision, principal=ALICE, capabilities=ASKED, answers=answers)


@pytest.mark.parametrize("revision", ["2026-07-28", "2025-11-25"])
async def test_a_question_reaches_the_call_that_asks_it(tmp_path, revision):
    async with asking(tmp_path) as (engine, federation, noted):
        callers = {name: caller_of(engine, revision, name) for name in ("first", "second")}
        calls = {}
        for name, caller in callers.items():
            call = caller.call("slow__ask", question=name, gate=str(tmp_path / name))
            calls[name] = asyncio.create_task(call)
            await until(lambda name=name: f"{name} began" in noted())
        assert federation.statuses()[0].sessions == 2

        # The earlier call asks while the later one runs, and the other way round.
        for name in ("first", "second"):
            (tmp_path / name).touch()
            assert (await calls[name])["content"][0]["text"] == str({"s": name})
            assert [one.params["message"] for one in callers[name].asked] == [name]

        await callers["first"].call("slow__ask", question="third")
        assert federation.statuses()[0].sessions == 2, "a process that is free is used again"


async def test_processes_for_calls_are_bounded(tmp_path):
    async with asking(tmp_path, processes=1) as (engine, _, noted):
        caller = caller_of(engine, "2025-11-25", "x")
        call = asyncio.create_task(caller.call("slow__ask", question="first", gate=str(tmp_path / "first")))
        await until(lambda: "first began" in noted())
        with pytest.raises(UpstreamUnavailable, match="all its 1 sessions busy"):
            await caller.call("slow__ask")
        (tmp_path / "first").touch()
        await call


class Closing:
    """A peer of which only the end counts."""

    closed = False

    async def close(self):
        self.closed = True


@pytest.mark.parametrize("lost_before", [True, False])
async def test_the_end_waits_for_no_call_over_a_lost_connection(lost_before):
    connection = Connection(Closing())
    connection.calls = 1
    sessions = Sessions("up", lambda session: asyncio.sleep(0, connection))
    session = Session(("", b"", 0), {})
    session.connection = connection
    sessions.lose(session, connection)
    if lost_before:
        await asyncio.sleep(0.05)
        assert not connection.peer.closed
    async with asyncio.timeout(5):
        await sessions.close()
    assert connection.peer.closed
