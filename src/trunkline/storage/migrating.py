"""Running migrations.

What it is for: tables are made and changed by Alembic, without a file a user has to have.
What may live here: what imports Alembic. What may not: what a migration does; those are in `migrations/`.
"""

import logging
import threading
from collections.abc import Sequence

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection, delete

from trunkline.storage.tables import schema
from trunkline.storage.versions import Branch

_TABLE = "trunkline_migrations"

_ALONE = threading.Lock()

logger = logging.getLogger("trunkline.storage")


def migrate(connection: Connection, branch: Branch) -> list[str]:
    """Run a branch's migrations that have not run yet, in the transaction the connection is in; returns their names."""
    script = ScriptDirectory(str(branch.folder), version_locations=[str(branch.folder)], file_template="%(rev)s")
    known = {revision.revision for revision in script.walk_revisions()}
    ran: list[str] = []

    def note(ctx: object, step: object, heads: object, run_args: object) -> None:
        revision = getattr(step, "up_revision_id", None)
        found = script.get_revision(revision) if isinstance(revision, str) else None
        if found is not None:
            _record(connection, found)
            ran.append(found.revision)

    def steps(current: Sequence[str], context: MigrationContext) -> object:
        # Other branches stand in the same table; this code need not know all that use the database.
        mine = tuple(revision for revision in current if revision in known)
        return script._upgrade_revs("heads", mine)  # type: ignore[arg-type]

    environment = EnvironmentContext(Config(), script, fn=steps)
    # Alembic hands the connection to migrations through a global of its own: one database at a time in a process.
    with _ALONE, environment:
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
