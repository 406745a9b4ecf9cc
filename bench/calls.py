"""Budget 1: what one modern `tools/call` over HTTP costs, beside a bare echo and the peers."""

from contextlib import ExitStack

from bench import subjects
from bench.load import Pass, load, verify
from bench.report import Budget, Spread
from bench.subjects import Running

SUBJECTS = [
    subjects.ECHO,
    subjects.FAST_ECHO,
    subjects.ASYNC,
    subjects.SYNC,
    subjects.HOOKS,
    subjects.HOOKS_SYNC,
    subjects.HOOKS_MANY,
    subjects.SDK,
    subjects.SDK_BEST,
    subjects.FASTMCP,
    subjects.FASTMCP_BEST,
]


def measure(passes: int, seconds: int) -> Budget:
    """Load every subject in turn, pass after pass, so that a busy moment of the machine falls on all of them."""
    budget = Budget("1", "one tools/call, 16 connections, server on one core")
    with ExitStack() as stack:
        servers = [stack.enter_context(subjects.running(subject)) for subject in SUBJECTS]
        right = {server.subject.name: verify(server).size for server in servers}
        rounds = [
            {server.subject.name: load(server, seconds, right[server.subject.name]) for server in servers}
            for _ in range(passes)
        ]
    _table(servers, rounds)
    for server in servers:
        name = server.subject.name
        budget.add(f"{name}: CPU us", Spread.of([found[name].cpu for found in rounds]))
        budget.add(f"{name}: calls/s", Spread.of([found[name].rate for found in rounds]))
    _judge(budget, rounds)
    return budget


def _judge(budget: Budget, rounds: list[dict[str, Pass]]) -> None:
    """Ratios are of CPU time per call within a pass, and the median of the passes counts."""

    def ratio(other: subjects.Subject, ours: subjects.Subject) -> float:
        return Spread.of([found[other.name].cpu / found[ours.name].cpu for found in rounds]).middle

    budget.hold("async tool, of echo", ratio(subjects.ECHO, subjects.HOOKS), least=0.8)
    budget.hold("1,000 tools, of echo", ratio(subjects.ECHO, subjects.HOOKS_MANY), least=0.8)
    budget.hold("sync tool, of echo", ratio(subjects.ECHO, subjects.HOOKS_SYNC), least=0.75)
    budget.hold("times SDK, default", ratio(subjects.SDK, subjects.HOOKS), least=10)
    budget.hold("times SDK, best", ratio(subjects.SDK_BEST, subjects.HOOKS), least=7)
    budget.hold("times FastMCP, best", ratio(subjects.FASTMCP_BEST, subjects.HOOKS), least=25)


def _table(servers: list[Running], rounds: list[dict[str, Pass]]) -> None:
    echo = subjects.ECHO.name
    print(f"  {'':31} {'CPU us a call':>24} {'calls/s':>9} {'p50 ms':>7} {'p99 ms':>7} {'of echo':>8}")
    for server in servers:
        name = server.subject.name
        cpu = Spread.of([found[name].cpu for found in rounds])
        rate, p50, p99 = (
            Spread.of([getattr(found[name], what) for found in rounds]) for what in ("rate", "p50", "p99")
        )
        share = Spread.of([found[echo].cpu / found[name].cpu for found in rounds]).middle
        spread = f"{cpu.middle:,.1f} ({cpu.least:,.1f}..{cpu.most:,.1f})"
        latency = f"{p50.middle / 1000:7.2f} {p99.middle / 1000:7.2f}"
        print(f"  {name:31} {spread:>24} {rate.middle:9,.0f} {latency} {share:8.0%}")
