"""The tables, as statements see them.

What it is for: one description for both databases, and the few words in which their SQL differs.
What may live here: tables and dialect differences. What may not: making tables; migrations do, and a test compares.

All times are seconds since 1970 by the database's clock: clocks of replicas may differ by minutes.
"""

from typing import TYPE_CHECKING

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite
    from sqlalchemy.sql.compiler import SQLCompiler

metadata = MetaData()

# SQLite numbers rows itself only where the type is INTEGER.
_number = BigInteger().with_variant(Integer, "sqlite")

replicas = Table(
    "trunkline_replicas",
    metadata,
    Column("name", Text, primary_key=True),
    Column("started", Double, nullable=False),
    Column("beat", Double, nullable=False),
    Column("facts", Text, nullable=False),
)

leases = Table(
    "trunkline_leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("until", Double, nullable=False),
)

records = Table(
    "trunkline_records",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("ends", Double, nullable=False),
    Index("trunkline_records_ends", "ends"),
    Index("trunkline_records_owner", "kind", "owner", "ends"),
)

streams = Table(
    "trunkline_streams",
    metadata,
    Column("id", _number, Identity(), primary_key=True),
    Column("session", Text, nullable=False),
    Column("stream", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("replica", Text, nullable=False),
    Column("about", LargeBinary, nullable=False),
    Column("last", BigInteger, nullable=False),
    Column("floor", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("finished", Boolean, nullable=False),
    Column("used", Double, nullable=False),
    Column("ends", Double),
    UniqueConstraint("session", "stream", name="trunkline_streams_name"),
    Index("trunkline_streams_owner", "owner"),
    Index("trunkline_streams_ends", "ends"),
    Index("trunkline_streams_replica", "replica"),
    sqlite_autoincrement=True,
)
"""`last` is the number of the newest event, `floor` that of the oldest kept; `ends` is when it will be forgotten."""

events = Table(
    "trunkline_events",
    metadata,
    Column("id", _number, ForeignKey(streams.c.id, ondelete="CASCADE"), primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("data", LargeBinary, nullable=False),
)

broadcasts = Table(
    "trunkline_broadcasts",
    metadata,
    Column("id", _number, Identity(), primary_key=True),
    Column("sender", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("message", LargeBinary, nullable=False),
    Column("sent", Double, nullable=False),
    sqlite_autoincrement=True,
)

mail = Table(
    "trunkline_mail",
    metadata,
    Column("id", _number, Identity(), primary_key=True),
    Column("recipient", Text, nullable=False),
    Column("sender", Text, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("topic", Text, nullable=False),
    Column("message", LargeBinary, nullable=False),
    UniqueConstraint("recipient", "sender", "number", name="trunkline_mail_number"),
    sqlite_autoincrement=True,
)

schema = Table(
    "trunkline_schema",
    metadata,
    Column("branch", Text, primary_key=True),
    Column("number", Integer, nullable=False),
    Column("compatible_since", Integer, nullable=False),
)
"""One row per branch: the migration it is at, and the oldest whose code can work with it."""


class clock(FunctionElement[float]):
    """Seconds since 1970 by the database's clock, at the moment of execution."""

    type = Double()
    inherit_cache = True


@compiles(clock, "sqlite")
def _sqlite_clock(element: clock, compiler: "SQLCompiler", **_: object) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(clock, "postgresql")
def _postgresql_clock(element: clock, compiler: "SQLCompiler", **_: object) -> str:
    # Not now(): that is when the transaction began, which may be long ago where it waited for a lock.
    return "extract(epoch from clock_timestamp())::double precision"


def insert(dialect: str, table: Table) -> "sqlite.Insert | postgresql.Insert":
    """An INSERT that knows ON CONFLICT, of the dialect of that name."""
    if dialect == "sqlite":
        from sqlalchemy.dialects import sqlite

        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(table)


def owner_of(key: str) -> str:
    """What all session keys of one owner have in common, and those of no other."""
    return key.partition(".")[0]
