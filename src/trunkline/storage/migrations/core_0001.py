"""The first tables: replicas, leases, records, streams and their events, broadcasts, mail."""

import sqlalchemy as sa
from alembic import op

revision = "core_0001"
down_revision = None
branch_labels = ("core",)
depends_on = None

compatible_since = 1
"""The oldest migration of this branch whose code can work with the tables as this one leaves them."""

_number = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "trunkline_schema",
        sa.Column("branch", sa.Text, primary_key=True),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("compatible_since", sa.Integer, nullable=False),
    )
    op.create_table(
        "trunkline_replicas",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("started", sa.Double, nullable=False),
        sa.Column("beat", sa.Double, nullable=False),
        sa.Column("facts", sa.Text, nullable=False),
    )
    op.create_table(
        "trunkline_leases",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("until", sa.Double, nullable=False),
    )
    _records()
    _streams()
    _messages()


def _records() -> None:
    op.create_table(
        "trunkline_records",
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("ends", sa.Double, nullable=False),
    )
    op.create_index("trunkline_records_ends", "trunkline_records", ["ends"])
    op.create_index("trunkline_records_owner", "trunkline_records", ["kind", "owner", "ends"])


def _streams() -> None:
    op.create_table(
        "trunkline_streams",
        sa.Column("id", _number, sa.Identity(), primary_key=True),
        sa.Column("session", sa.Text, nullable=False),
        sa.Column("stream", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("replica", sa.Text, nullable=False),
        sa.Column("about", sa.LargeBinary, nullable=False),
        sa.Column("last", sa.BigInteger, nullable=False),
        sa.Column("floor", sa.BigInteger, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("finished", sa.Boolean, nullable=False),
        sa.Column("used", sa.Double, nullable=False),
        sa.Column("ends", sa.Double),
        sa.UniqueConstraint("session", "stream", name="trunkline_streams_name"),
        sqlite_autoincrement=True,
    )
    for column in ("owner", "ends", "replica"):
        op.create_index(f"trunkline_streams_{column}", "trunkline_streams", [column])
    op.create_table(
        "trunkline_events",
        sa.Column("id", _number, sa.ForeignKey("trunkline_streams.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )


def _messages() -> None:
    op.create_table(
        "trunkline_broadcasts",
        sa.Column("id", _number, sa.Identity(), primary_key=True),
        sa.Column("sender", sa.Text, nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("message", sa.LargeBinary, nullable=False),
        sa.Column("sent", sa.Double, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "trunkline_mail",
        sa.Column("id", _number, sa.Identity(), primary_key=True),
        sa.Column("recipient", sa.Text, nullable=False),
        sa.Column("sender", sa.Text, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("message", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("recipient", "sender", "number", name="trunkline_mail_number"),
        sqlite_autoincrement=True,
    )
