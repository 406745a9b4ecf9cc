"""Budget 3, sign-in alone: what a call costs whose token is known, beside the same call without sign-in."""

from contextlib import ExitStack

from bench import subjects
from bench.load import load, verify
from bench.report import Budget, Spread
from bench.signing import access_token


def measure(passes: int, seconds: int) -> Budget:
    """Load both in turn, pass after pass."""
    budget = Budget("3", "sign-in with a known token, one tools/call, 16 connections, server on one core")
    with ExitStack() as stack:
        servers = [stack.enter_context(subjects.running(one)) for one in (subjects.ASYNC, subjects.SIGNED)]
        servers[1].token = access_token()
        right = [verify(server).size for server in servers]
        rounds = [
            [load(server, seconds, size).cpu for server, size in zip(servers, right, strict=True)]
            for _ in range(passes)
        ]
    for number, server in enumerate(servers):
        cpu = Spread.of([found[number] for found in rounds])
        budget.add(f"{server.subject.name}: CPU us", cpu)
        print(f"  {server.subject.name:31} {cpu.middle:8.1f} CPU us a call ({cpu.least:.1f}..{cpu.most:.1f})")
    budget.hold("signed in, of the same without", Spread.of([off / on for off, on in rounds]).middle, least=0.8)
    budget.notes.append("policy and audit are not part of it yet")
    return budget
