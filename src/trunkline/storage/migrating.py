"""Running migrations.

What it is for: tables are made and changed by Alembic, without a file a user has to have.
What may live here: what imports Alembic. What may not: what a migration does; those are in `migrations/`.
"""

import logging
from collections.abc import Sequence

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection, delete

from trunkline.storage.tables import schema
from trunkline.storage.versions import Branch

_TABLE = "trunkline_migrations"

logger = logging.getLogger("trunkline.storage")


def migrate(connection: Connection, branches: Sequence[Branch]) -> list[str]:
    """Run the migrations that have not run yet, in the transaction the connection is in; returns their names."""
    script = ScriptDirectory(
        str(branches[0].folder), version_locations=[str(branch.folder) for branch in branches], file_template="%(rev)s"
    )
    ran: list[str] = []

    def note(ctx: object, step: object, heads: object, run_args: object) -> None:
        revision = getattr(step, "up_revision_id", None)
        found = script.get_revision(revision) if isinstance(revision, str) else None
        if found is not None:
            _record(connection, found)
            ran.append(found.revision)

    def steps(current: object, context: MigrationContext) -> object:
        return script._upgrade_revs("heads", current)  # type: ignore[arg-type]

    environment = EnvironmentContext(Config(), script, fn=steps)
    with environment:
        environment.configure(
            connection=connection,
            version_table=_TABLE,
            # SQLite can; Alembic assumes that it cannot.
            transactional_ddl=True,
            on_version_apply=note,
        )
        environment.run_migrations()
    return ran


def _record(connection: Connection, script: Script) -> None:
    """Write down where a branch is; the marker stands in the migration itself."""
    branch, _, number = script.revision.rpartition("_")
    connection.execute(delete(schema).where(schema.c.branch == branch))
    since: int = script.module.compatible_since
    connection.execute(schema.insert().values(branch=branch, number=int(number), compatible_since=since))
