"""The tables of a database, from outside: what version they are, and bringing them up to date.

What it is for: opening a database, and the commands for operators.
What may live here: connecting once and deciding. What may not: migrations, work on tables.
"""

from collections.abc import Sequence

from sqlalchemy import Engine, exc, text

from trunkline.errors import ConfigError, StorageUnavailable
from trunkline.storage.database import one_at_a_time
from trunkline.storage.location import Location, locate
from trunkline.storage.versions import CORE, Branch, Version, is_outdated, refuse_newer, versions

_MIGRATION_PATIENCE = 30.0

BRANCHES: Sequence[Branch] = (CORE,)
"""Those of this room; whoever knows extensions adds theirs, behind it."""


def upgrade(url: str, branches: Sequence[Branch] = BRANCHES) -> list[str]:
    """Bring the tables of a database up to date; several may do so at once.

    Returns the names of the migrations that ran, none when all is up to date. Raises `ConfigError` for tables that
    newer code has changed incompatibly, `StorageUnavailable` when the database cannot be reached.

        upgrade("postgresql://user@host/db")  # ["core_0001"]
    """
    location = locate(url)
    engine = _engine(location)
    try:
        return _upgrade(engine, location, branches)
    except exc.DBAPIError as error:
        raise _unusable(location, error) from None
    finally:
        engine.dispose()


def status(url: str, branches: Sequence[Branch] = BRANCHES) -> list[tuple[Branch, Version | None]]:
    """The version of each branch of a database that exists. Raises as `upgrade` does."""
    location = locate(url)
    if location.file is not None and not location.file.exists():
        raise ConfigError(f"There is no file {location.file}; it is made when it is used for the first time")
    engine = _engine(location)
    try:
        with engine.connect() as connection:
            found = versions(connection)
        return [(branch, found.get(branch.name)) for branch in branches]
    except exc.DBAPIError as error:
        raise _unusable(location, error) from None
    finally:
        engine.dispose()


def ensure(url: str, branches: Sequence[Branch] = BRANCHES) -> Location:
    """Make sure that this code can work with a database: SQLite is brought up to date, PostgreSQL only looked at.

    Raises `ConfigError` with what to run where an operator has to.
    """
    location = locate(url)
    engine = _engine(location)
    try:
        with engine.connect() as connection:
            found = versions(connection)
        for branch in branches:
            refuse_newer(found, branch, location.name)
        if any(is_outdated(found, branch) for branch in branches):
            if location.file is None:
                what = "older tables than this version of trunkline needs" if found else "no tables of trunkline yet"
                raise ConfigError(f"The database {location.name} has {what}; run: trunkline db upgrade {location.name}")
            _upgrade(engine, location, branches)
        return location
    except exc.DBAPIError as error:
        raise _unusable(location, error) from None
    finally:
        engine.dispose()


def _upgrade(engine: Engine, location: Location, branches: Sequence[Branch]) -> list[str]:
    # Whoever comes second waits here, and then finds nothing left to do.
    with engine.begin() as connection:
        if location.file is None:
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            one_at_a_time(connection, "migrations")
        found = versions(connection)
        for branch in branches:
            refuse_newer(found, branch, location.name)
        outdated = [branch for branch in branches if is_outdated(found, branch)]
        if not outdated:
            return []
        # It takes long to import, and is hardly ever needed.
        from trunkline.storage.migrating import migrate

        return [name for branch in outdated for name in migrate(connection, branch)]


def _engine(location: Location) -> Engine:
    if location.file is not None:
        from trunkline.storage import sqlite

        sqlite.prepare(location.file)
        return sqlite.engine(location.file, "BEGIN IMMEDIATE", _MIGRATION_PATIENCE)
    from trunkline.storage import postgresql

    return postgresql.engine(postgresql.complete(location.conninfo))


def _unusable(location: Location, error: exc.DBAPIError) -> ConfigError | StorageUnavailable:
    why = str(error.orig).strip().partition("\n")[0][:200]
    if location.file is not None:
        return ConfigError(f"The database {location.name} cannot be used: {why}")
    return StorageUnavailable(f"The database {location.name} cannot be used: {why}; does it run, may you connect?")
