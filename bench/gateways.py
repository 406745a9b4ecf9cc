"""Budget 2: what one modern `tools/call` costs through a gateway, beside a forwarder that only forwards."""

import time
from contextlib import ExitStack
from dataclasses import replace

from bench import asking, contextforge, subjects
from bench.load import Pass, WrongAnswer, load, verify
from bench.report import Budget, Spread
from bench.subjects import CORES, FASTMCP_PROXY, FORWARDER, GATEWAY, UPSTREAM, UPSTREAM_MANY, Running, Unavailable

MEGABYTE = 2**20
TOOLS = 10_000
COUNTED = 20
TEN = replace(GATEWAY, name="trunkline, 10 upstreams")
HUNDRED = replace(GATEWAY, name="trunkline, 100 upstreams")
CROWDED = replace(GATEWAY, name="trunkline, 10,000 tools")


def measure(passes: int, seconds: int) -> Budget:
    """Load every gateway in turn, pass after pass; the upstreams run on the core of the load."""
    budget = Budget("2", "one tools/call through a gateway, 16 connections, one HTTP upstream that is an echo")
    with ExitStack() as stack:
        echoes = [stack.enter_context(subjects.running(UPSTREAM, core=CORES[-1])) for _ in range(4)]
        crowd = stack.enter_context(subjects.running(UPSTREAM_MANY, core=CORES[-1]))
        servers = [
            stack.enter_context(subjects.running(FORWARDER, echoes[0])),
            stack.enter_context(subjects.gateway(echoes[0])),
            stack.enter_context(subjects.gateway(*echoes, entries=10, subject=TEN)),
            stack.enter_context(subjects.gateway(*echoes, entries=100, subject=HUNDRED)),
            stack.enter_context(subjects.gateway(crowd, entries=10, subject=CROWDED)),
            stack.enter_context(subjects.running(FASTMCP_PROXY, echoes[0])),
        ]
        crowded = servers[-2]
        servers += _contextforge(budget, stack, echoes[0])
        _wait(crowded)
        _list(budget, crowded)
        right = {server.subject.name: verify(server).size for server in servers}
        asked = {server.subject.name: _requests(server, [*echoes, crowd]) for server in servers}
        rounds = [
            {server.subject.name: load(server, seconds, right[server.subject.name]) for server in servers}
            for _ in range(passes)
        ]
        _table(budget, servers, asked, rounds)
    _judge(budget, asked, rounds)
    return budget


def _contextforge(budget: Budget, stack: ExitStack, echo: Running) -> list[Running]:
    """It, where it can be had: it needs an environment of its own, and a newer Python than the rest."""
    name = contextforge.SUBJECT.name
    try:
        version, python = contextforge.release()
        print(f"  {name} {version} on Python {python} starts; the first time takes a minute", flush=True)
        server = stack.enter_context(contextforge.contextforge(echo))
        verify(server)
    except (Unavailable, WrongAnswer) as reason:
        print(f"  {name} is left out: {reason}", flush=True)
        budget.notes.append(f"{name} is left out: {str(reason).splitlines()[0]}")
        return []
    budget.notes.append(f"{name} is release {version} on Python {python}, spoken to in revision {server.wire}")
    return [server]


def _wait(crowded: Running) -> None:
    """Until it has learned all tools of all its upstreams."""
    deadline = time.monotonic() + 60
    while (known := len(asking.names(crowded))) != TOOLS:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{crowded.subject.name} lists {known} tools, not {TOOLS}")
        time.sleep(0.5)


def _list(budget: Budget, crowded: Running) -> None:
    """One client after the other reads the whole list."""
    milliseconds, cpu = [], []
    for _ in range(5):
        start, before = time.perf_counter(), crowded.cpu()
        asking.names(crowded)
        milliseconds.append((time.perf_counter() - start) * 1000)
        cpu.append((crowded.cpu() - before) * 1000)
    taken, used = Spread.of(milliseconds), Spread.of(cpu)
    budget.add(f"list of {TOOLS:,} tools: ms", taken)
    budget.add(f"list of {TOOLS:,} tools: CPU ms", used)
    print(f"          list of {TOOLS:,} tools, client included: {taken.middle:.0f} ms; {used.middle:.0f} ms of CPU")


def _requests(server: Running, upstreams: list[Running]) -> float:
    """Requests that reach the upstreams, a call; counted once nothing is left of the load before."""
    before, settled = -1, False
    while not settled:
        last, before = before, _counted(upstreams)
        settled = before == last
        time.sleep(0 if settled else 1)
    asking.call(server, COUNTED)
    return (_counted(upstreams) - before) / COUNTED


def _counted(upstreams: list[Running]) -> int:
    return sum(asking.counted(upstream) for upstream in upstreams)


def _judge(budget: Budget, asked: dict[str, float], rounds: list[dict[str, Pass]]) -> None:
    """Ratios are of CPU time per call within a pass, and the median of the passes counts."""

    def ratio(ours: subjects.Subject, other: subjects.Subject) -> float:
        return Spread.of([found[ours.name].cpu / found[other.name].cpu for found in rounds]).middle

    budget.hold("times the forwarder", ratio(GATEWAY, FORWARDER), most=1.6)
    budget.hold("upstream requests a call", asked[GATEWAY.name], most=1)
    for subject in (TEN, HUNDRED, CROWDED):
        found = ratio(subject, GATEWAY)
        budget.figures[f"{subject.name}, times one"] = found
        print(f"          {subject.name}: {found:.2f} times the gateway over one upstream with one tool")


def _table(budget: Budget, servers: list[Running], asked: dict[str, float], rounds: list[dict[str, Pass]]) -> None:
    print(f"  {'':31} {'CPU us a call':>30} {'calls/s':>9} {'p50 ms':>8} {'p99 ms':>8} {'requests':>8} {'MB':>6}")
    for server in servers:
        name = server.subject.name
        cpu, rate, p50, p99 = (
            Spread.of([getattr(found[name], what) for found in rounds]) for what in ("cpu", "rate", "p50", "p99")
        )
        size = server.resident() / MEGABYTE
        budget.add(f"{name}: CPU us", cpu)
        budget.add(f"{name}: calls/s", rate)
        budget.figures |= {f"{name}: upstream requests a call": asked[name], f"{name}: MB": size}
        spread = f"{cpu.middle:,.1f} ({cpu.least:,.1f}..{cpu.most:,.1f})"
        latency = f"{p50.middle / 1000:8.2f} {p99.middle / 1000:8.2f}"
        print(f"  {name:31} {spread:>30} {rate.middle:9,.0f} {latency} {asked[name]:8.2f} {size:6.1f}")
