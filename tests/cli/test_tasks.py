"""`trunkline call` with tools whose calls become tasks: a process against a server that speaks the wire by hand."""

import asyncio
import json
import os
import signal
from asyncio.subprocess import PIPE, Process

from tests.cli.test_commands import TRUNKLINE
from tests.client.by_hand import ID, ByHand, error, finished, task
from tests.client.raw import serving


async def start(*words: str) -> Process:
    """Run the command."""
    return await asyncio.create_subprocess_exec(
        TRUNKLINE,
        *words,
        stdout=PIPE,
        stderr=PIPE,
        stdin=asyncio.subprocess.DEVNULL,
        env={**os.environ, "COLUMNS": "120"},
    )


async def run(*words: str) -> tuple[int | None, str, str]:
    """Exit code, output and errors of the command."""
    process = await start(*words)
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, out.decode(), err.decode()


async def test_a_call_waits_for_its_task() -> None:
    hand = ByHand(task("working", statusMessage="half of it"), finished())
    async with serving(hand) as url:
        code, out, err = await run("call", url, "slow")

    assert (code, out) == (0, "done\n")
    assert ID in err


async def test_an_interrupted_call_says_how_to_come_back() -> None:
    hand = ByHand(task("working"))
    async with serving(hand) as url:
        process = await start("call", url, "slow", "--token-env", "HOME")
        while not hand.params("tasks/get"):
            await asyncio.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = await asyncio.wait_for(process.communicate(), 30)
        hint = next(line.split() for line in err.decode().splitlines() if "--task" in line)

        assert process.returncode == 130
        assert not hand.params("tasks/cancel")
        hand.states = [finished()]
        assert hint[0] == "trunkline"
        code, out, _ = await run(*hint[1:])

    assert (code, out) == (0, "done\n")


async def test_a_call_may_leave_its_task_and_end_it_later() -> None:
    hand = ByHand(task("working"), extensions={"dev.trunkline/tasks": {}})
    async with serving(hand) as url:
        code, out, _ = await run("call", url, "--no-wait", "--idempotency-key", "k1", "slow")
        assert (code, out.strip()) == (0, ID)
        assert hand.params("tools/call")[0]["_meta"]["dev.trunkline/idempotencyKey"] == "k1"  # type: ignore[index]

        code, _, err = await run("call", url, "--task", out.strip(), "--cancel")

    assert code == 0
    assert "told to stop" in err
    assert len(hand.params("tasks/cancel")) == 1


async def test_a_task_that_is_gone_or_failed_is_told_in_a_line() -> None:
    expired = error(-32602, "expired at 9", {"dev.trunkline/reason": "expired"})
    async with serving(ByHand(expired)) as url:
        code, out, err = await run("call", url, "--task", ID)
    assert (code, out) == (1, "")
    assert "expired at 9" in err and "Traceback" not in err

    async with serving(ByHand(task("failed", error={"code": -32603, "message": "it broke"}))) as url:
        code, _, err = await run("call", url, "--task", ID)
    assert code == 1
    assert "it broke" in err


async def test_what_makes_no_sense_is_refused_with_advice() -> None:
    async with serving(ByHand(finished())) as url:
        code, _, err = await run("call", url, "slow", "--task", ID)
        assert (code, "leave out the tool" in err) == (2, True)
        code, _, err = await run("call", url)
        assert (code, "needs the name of a tool" in err) == (2, True)
        code, out, _ = await run("call", url, "--json", "slow")
        assert json.loads(out)["content"][0]["text"] == "done"
