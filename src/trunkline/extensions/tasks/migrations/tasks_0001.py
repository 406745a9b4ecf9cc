"""The tables of durable tasks: tasks, their payloads, their attempts."""

import sqlalchemy as sa
from alembic import op

revision = "tasks_0001"
down_revision = None
branch_labels = ("tasks",)
depends_on = None

compatible_since = 1
"""The oldest migration of this branch whose code can work with the tables as this one leaves them."""


def upgrade() -> None:
    """Make the tables."""
    _tasks()
    op.create_table(
        "trunkline_task_payloads",
        sa.Column("task", sa.Text, sa.ForeignKey("trunkline_tasks.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("request", sa.LargeBinary, nullable=False),
        sa.Column("replay", sa.LargeBinary),
        sa.Column("outcome", sa.LargeBinary),
    )
    op.create_table(
        "trunkline_task_attempts",
        sa.Column("task", sa.Text, sa.ForeignKey("trunkline_tasks.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("began", sa.Double),
        sa.Column("ended", sa.Double, nullable=False),
        sa.Column("worker", sa.Text),
        sa.Column("why", sa.Text),
        sa.Column("error", sa.LargeBinary),
    )


def _tasks() -> None:
    op.create_table(
        "trunkline_tasks",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("client", sa.Text),
        sa.Column("tool", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("message", sa.Text),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("updated", sa.Double, nullable=False),
        sa.Column("finished", sa.Double),
        sa.Column("ends", sa.Double),
        sa.Column("sweep", sa.Double),
        sa.Column("erased", sa.Boolean, nullable=False),
        sa.Column("due", sa.Double),
        sa.Column("worker", sa.Text),
        sa.Column("ran_by", sa.Text),
        sa.Column("run", sa.BigInteger, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("began", sa.Double),
        sa.Column("cancelling", sa.Boolean, nullable=False),
        sa.Column("rank", sa.Integer, nullable=False),
        sa.Column("concurrency", sa.Integer),
        sa.Column("policy", sa.LargeBinary, nullable=False),
        sa.Column("questions", sa.LargeBinary),
        sa.Column("asked", sa.LargeBinary),
        sa.Column("key", sa.Text),
        sa.Column("digest", sa.LargeBinary, nullable=False),
    )
    _partial("claims", "due IS NOT NULL", "scope", "rank", "owner", "tool", "due")
    _partial("due", "due IS NOT NULL", "scope", "due")
    _partial("running", "worker IS NOT NULL", "scope", "tool")
    _partial("unfinished", "finished IS NULL", "scope", "owner")
    _partial("sweep", "sweep IS NOT NULL", "scope", "sweep")
    _partial("key", "key IS NOT NULL", "scope", "owner", "tool", "key", unique=True)
    op.create_index("trunkline_tasks_created", "trunkline_tasks", ["scope", "created", "id"])


def _partial(name: str, where: str, *columns: str, unique: bool = False) -> None:
    op.create_index(
        f"trunkline_tasks_{name}",
        "trunkline_tasks",
        list(columns),
        unique=unique,
        sqlite_where=sa.text(where),
        postgresql_where=sa.text(where),
    )
