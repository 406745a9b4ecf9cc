"""The tables of tasks, as statements see them.

What it is for: one description for both databases.
What may live here: tables and their indexes. What may not: making tables; migrations do, and a test compares.

All times are seconds since 1970 by the database's clock.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)

metadata = MetaData()


def _partial(name: str, where: str, *columns: str, unique: bool = False) -> Index:
    """An index of a part of the tasks, so that the others cost nothing."""
    return Index(
        f"trunkline_tasks_{name}", *columns, unique=unique, sqlite_where=text(where), postgresql_where=text(where)
    )


tasks = Table(
    "trunkline_tasks",
    metadata,
    Column("id", Text, primary_key=True),
    Column("scope", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("client", Text),
    Column("tool", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("message", Text),
    Column("created", Double, nullable=False),
    Column("updated", Double, nullable=False),
    Column("finished", Double),
    Column("ends", Double),
    Column("sweep", Double),
    Column("erased", Boolean, nullable=False),
    Column("due", Double),
    Column("worker", Text),
    Column("ran_by", Text),
    Column("run", BigInteger, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("began", Double),
    Column("cancelling", Boolean, nullable=False),
    Column("rank", Integer, nullable=False),
    Column("concurrency", Integer),
    Column("policy", LargeBinary, nullable=False),
    Column("questions", LargeBinary),
    Column("asked", LargeBinary),
    Column("key", Text),
    Column("digest", LargeBinary, nullable=False),
    _partial("claims", "due IS NOT NULL", "scope", "rank", "owner", "tool", "due"),
    _partial("due", "due IS NOT NULL", "scope", "due"),
    _partial("running", "worker IS NOT NULL", "scope", "tool"),
    _partial("unfinished", "finished IS NULL", "scope", "owner"),
    _partial("sweep", "sweep IS NOT NULL", "scope", "sweep"),
    _partial("key", "key IS NOT NULL", "scope", "owner", "tool", "key", unique=True),
    Index("trunkline_tasks_created", "scope", "created", "id"),
)
"""`due` is when somebody has to look after the task: when it may run, or when the lease of its `worker` runs out.
`ran_by` is who ran it last. `sweep` is when it has to be expired, erased or forgotten. `rank` is the priority, the
first the lowest. `questions` are those that are open, `asked` all keys that ever were, with the function's own key of
each; both JSON."""

payloads = Table(
    "trunkline_task_payloads",
    metadata,
    Column("task", Text, ForeignKey(tasks.c.id, ondelete="CASCADE"), primary_key=True),
    Column("request", LargeBinary, nullable=False),
    Column("replay", LargeBinary),
    Column("outcome", LargeBinary),
)
"""What may be large, and goes before the rest."""

attempts = Table(
    "trunkline_task_attempts",
    metadata,
    Column("task", Text, ForeignKey(tasks.c.id, ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("began", Double),
    Column("ended", Double, nullable=False),
    Column("worker", Text),
    Column("why", Text),
    Column("error", LargeBinary),
)
"""Attempts that another one followed; the last one stands in the task."""
