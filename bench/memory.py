"""Budget 7: the memory of a one-tool server, and what legacy sessions leave behind."""

import asyncio
import time

from bench import subjects
from bench.load import verify
from bench.report import Budget
from bench.sessions import churn

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
    budget.hold("idle gateway: MB", _idle_gateway(), most=90)
    budget.hold("bytes a session", _growth(subjects.ASYNC, sessions), most=100)
    peer = _growth(subjects.SDK, max(sessions // 50, 100))
    budget.figures["SDK, default: bytes a session"] = peer
    print(f"          SDK, default: {peer:,.0f} bytes a session")
    budget.notes.append(
        f"{sessions:,} sessions, {max(sessions // 50, 100):,} with the SDK, after a tenth of them as warm-up"
    )
    return budget


def _idle_gateway() -> float:
    """Megabytes of `trunkline up` over one HTTP upstream, three seconds after it listens."""
    with subjects.running(subjects.ASYNC) as upstream, subjects.gateway(upstream) as gateway:
        time.sleep(3)
        return gateway.resident() / MEGABYTE


def _growth(subject: subjects.Subject, sessions: int) -> float:
    """Bytes of resident memory a session leaves behind, after a warm-up of a tenth of them."""
    with subjects.running(subject) as server:
        asyncio.run(churn(server.port, sessions // 10))
        before = server.resident()
        asyncio.run(churn(server.port, sessions))
        return (server.resident() - before) / sessions
