"""Whose turn it is: the choice of the next tasks.

What it is for: nobody waits because somebody else has much to do. The highest priority goes first; within one, owners
take turns, and the tools of an owner do; a tool runs no oftener at a time than it may.
What may live here: that choice. What may not: what becomes of the chosen.

What it costs grows with the owners and tools that have something waiting, not with how much each has.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence

from sqlalchemy import CTE, Connection, RowMapping, Select, bindparam, case, func, literal, select, tuple_

from trunkline.extensions.tasks.rows import now
from trunkline.extensions.tasks.tables import tasks
from trunkline.storage.database import one_at_a_time
from trunkline.storage.tables import clock

_c = tasks.c

_PAGE = 200
"""Queues that are looked at in one statement."""

_PAGES = 20

_CHOICE = (_c.id, _c.tool, _c.worker, _c.cancelling, _c.concurrency, _c.policy)


class Turn:
    """Who was served last by one process, so that the next owner comes first the next time.

    Parameters:
        scope: whose tasks.
    """

    def __init__(self, scope: str) -> None:
        self.scope = scope
        self.owner = ""


def chosen(connection: Connection, turn: Turn, most: int, tools: Sequence[str] | None) -> list[RowMapping]:
    """Rows of at most so many tasks that are due, locked; see `_CHOICE` for their columns."""
    full = _full_tools(connection, turn.scope)
    allowed = None if tools is None else frozenset(tools)

    def serves(tool: str) -> bool:
        return tool not in full and (allowed is None or tool in allowed)

    found: list[RowMapping] = []
    rank: int | None = None
    while len(found) < most and (rank := _next_rank(connection, turn.scope, rank)) is not None:
        queues = _queues(connection, turn, rank, most - len(found), serves)
        picked = _picked(connection, turn, rank, queues, most - len(found))
        found += _within_limits(connection, turn.scope, picked)
    return found


def _full_tools(connection: Connection, scope: str) -> set[str]:
    """Tools that run as often as they may."""
    return set(connection.execute(_FULL, {"scope": scope}).scalars())


def _next_rank(connection: Connection, scope: str, after: int | None) -> int | None:
    query, values = (_FIRST_RANK, {"scope": scope}) if after is None else (_NEXT_RANK, {"scope": scope, "rank": after})
    found: int | None = connection.execute(query, values).scalar_one()
    return found


def _queues(
    connection: Connection, turn: Turn, rank: int, most: int, serves: Callable[[str], bool]
) -> dict[str, list[str]]:
    """Owners with something due, from the one after whoever was served last on, each with those of its tools."""
    found: dict[str, list[str]] = {}
    owner, tool, wrapped = turn.owner, None, False
    # Where few are wanted, few are looked at; the first may be of no use.
    size = min(_PAGE, max(16, 4 * most))
    for _ in range(_PAGES):
        values = {"scope": turn.scope, "rank": rank, "owner": owner, "tool": tool, "page": size}
        page = connection.execute(_QUEUES if tool is not None else _FIRST_QUEUES, values).all()
        for queue in page:
            if wrapped and queue.owner > turn.owner:
                return found
            if queue.is_due and serves(queue.tool):
                found.setdefault(queue.owner, []).append(queue.tool)
        if len(found) > most:
            return found
        if len(page) == size:
            owner, tool, size = page[-1].owner, page[-1].tool, _PAGE
        elif wrapped or not turn.owner:
            return found
        else:
            owner, tool, wrapped = "", None, True
    return found


def _picked(
    connection: Connection, turn: Turn, rank: int, queues: Mapping[str, list[str]], most: int
) -> list[RowMapping]:
    """The longest due tasks of each queue, an equal share of each owner, and of each tool within it."""
    found: list[RowMapping] = []
    for served, (owner, tools) in enumerate(queues.items()):
        share = math.ceil((most - len(found)) / (len(queues) - served))
        random.shuffle(tools)
        mine = 0
        for tried, tool in enumerate(tools):
            wanted = math.ceil((share - mine) / (len(tools) - tried))
            if wanted <= 0:
                break
            values = {"scope": turn.scope, "rank": rank, "owner": owner, "tool": tool, "most": wanted}
            rows = connection.execute(_OF_QUEUE, values).mappings().all()
            found += rows
            mine += len(rows)
        turn.owner = owner
        if len(found) >= most:
            break
    return found


def _within_limits(connection: Connection, scope: str, picked: list[RowMapping]) -> list[RowMapping]:
    """Without those of tools that would run oftener at a time than they may, over all replicas."""
    limits: dict[str, int] = {}
    for row in picked:
        if row["concurrency"] is not None:
            limits[row["tool"]] = min(row["concurrency"], limits.get(row["tool"], row["concurrency"]))
    if not limits:
        return picked
    for tool in sorted(limits):
        # Two that count at once would both find the last place free.
        one_at_a_time(connection, f"tasks {scope} {tool}")
        limits[tool] -= connection.execute(_RUNNING, {"scope": scope, "tool": tool}).scalar_one()
    kept = []
    for row in picked:
        left = limits.get(row["tool"])
        if left is None or left > 0:
            kept.append(row)
        if left is not None:
            limits[row["tool"]] = left - 1
    return kept


def _skipping(first: bool) -> CTE:
    """Queues, one after another: each is found in the index behind the one before, however many tasks that has.

    Parameters:
        first: begin behind an owner, not behind one of its tools.
    """
    queue, other = tasks.alias("queue"), tasks.alias("other")
    behind = (
        _c.owner > bindparam("owner")
        if first
        else tuple_(_c.owner, _c.tool) > tuple_(bindparam("owner"), bindparam("tool"))
    )
    start = (
        select(_c.owner, _c.tool, _c.due, literal(1).label("number"))
        .where(_c.due.is_not(None), _c.scope == bindparam("scope"), _c.rank == bindparam("rank"), behind)
        .order_by(_c.owner, _c.tool, _c.due)
        .limit(1)
        .subquery()
    )
    queues = select(start).cte("queues", recursive=True)
    following = (
        select(other.c.id)
        .where(
            other.c.due.is_not(None),
            other.c.scope == bindparam("scope"),
            other.c.rank == bindparam("rank"),
            tuple_(other.c.owner, other.c.tool) > tuple_(queues.c.owner, queues.c.tool),
        )
        .order_by(other.c.owner, other.c.tool, other.c.due)
        .limit(1)
        .correlate(queues)
        .scalar_subquery()
    )
    step = (
        select(queue.c.owner, queue.c.tool, queue.c.due, queues.c.number + 1)
        .select_from(queues.join(queue, queue.c.id == following))
        .where(queues.c.number < bindparam("page"))
    )
    return queues.union_all(step)


def _listed(queues: CTE) -> "Select[str, str, bool]":
    return select(queues.c.owner, queues.c.tool, (queues.c.due <= clock()).label("is_due")).order_by(queues.c.number)


_FULL = (
    select(_c.tool)
    .where(_c.scope == bindparam("scope"), _c.worker.is_not(None), _c.concurrency.is_not(None))
    .group_by(_c.tool)
    # Whether a lease still runs is no condition: the index of what is due would be read, not that of what runs.
    .having(func.sum(case((_c.due > clock(), 1), else_=0)) >= func.min(_c.concurrency))
)
_FIRST_RANK = select(func.min(_c.rank)).where(_c.scope == bindparam("scope"), _c.due.is_not(None))
_NEXT_RANK = _FIRST_RANK.where(_c.rank > bindparam("rank"))
_RUNNING = select(func.count()).where(
    _c.scope == bindparam("scope"), _c.tool == bindparam("tool"), _c.worker.is_not(None), _c.due > clock()
)
_FIRST_QUEUES = _listed(_skipping(first=True))
_QUEUES = _listed(_skipping(first=False))
_OF_QUEUE = (
    select(*_CHOICE)
    .where(
        _c.due.is_not(None),
        _c.scope == bindparam("scope"),
        _c.rank == bindparam("rank"),
        _c.owner == bindparam("owner"),
        _c.tool == bindparam("tool"),
        _c.due <= now(),
    )
    .order_by(_c.due)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)
