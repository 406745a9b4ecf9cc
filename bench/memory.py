"""Budget 7: the memory of a one-tool server and of idle gateways, and what legacy sessions leave behind."""

import asyncio
import time
from contextlib import AbstractContextManager

from bench import contextforge, subjects
from bench.load import verify
from bench.report import Budget
from bench.sessions import churn
from bench.subjects import Running, Unavailable

MEGABYTE = 2**20


def measure(sessions: int) -> Budget:
    """Resident memory after a second of calls; then its growth over `sessions` sessions made and dropped."""
    budget = Budget("7", "memory")
    for subject in (subjects.ECHO, subjects.ASYNC, subjects.SDK, subjects.FASTMCP):
        with subjects.running(subject) as server:
            verify(server)
            size = server.resident() / MEGABYTE
        if subject is subjects.ASYNC:
            budget.hold(f"{subject.name}: MB", size, most=45)
        else:
            budget.figures[f"{subject.name}: MB"] = size
            print(f"          {subject.name}: {size:.1f} MB")
    with subjects.running(subjects.UPSTREAM) as upstream:
        _gateways(budget, upstream)
    budget.hold("bytes a session", _growth(subjects.ASYNC, sessions), most=100)
    peer = _growth(subjects.SDK, max(sessions // 50, 100))
    budget.figures["SDK, default: bytes a session"] = peer
    print(f"          SDK, default: {peer:,.0f} bytes a session")
    budget.notes.append(
        f"{sessions:,} sessions, {max(sessions // 50, 100):,} with the SDK, after a tenth of them as warm-up"
    )
    return budget


def _gateways(budget: Budget, upstream: Running) -> None:
    """`trunkline up` and the others over one HTTP upstream."""
    budget.hold("idle gateway: MB", _idle(subjects.gateway(upstream)), most=90)
    peers = {
        subjects.FORWARDER: subjects.running(subjects.FORWARDER, upstream),
        subjects.FASTMCP_PROXY: subjects.running(subjects.FASTMCP_PROXY, upstream),
        contextforge.SUBJECT: contextforge.contextforge(upstream),
    }
    for subject, peer in peers.items():
        try:
            size = _idle(peer)
        except Unavailable as reason:
            print(f"          {subject.name} is left out: {reason}")
            budget.notes.append(f"{subject.name} is left out: {str(reason).splitlines()[0]}")
            continue
        budget.figures[f"idle {subject.name}: MB"] = size
        print(f"          idle {subject.name}: {size:.1f} MB")


def _idle(gateway: AbstractContextManager[Running]) -> float:
    """Megabytes of a gateway that nobody has called, three seconds after it listens."""
    with gateway as server:
        time.sleep(3)
        return server.resident() / MEGABYTE


def _growth(subject: subjects.Subject, sessions: int) -> float:
    """Bytes of resident memory a session leaves behind, after a warm-up of a tenth of them."""
    with subjects.running(subject) as server:
        asyncio.run(churn(server.port, sessions // 10))
        before = server.resident()
        asyncio.run(churn(server.port, sessions))
        return (server.resident() - before) / sessions
