"""Which version of the tables there is, and whether this code can work with it.

What it is for: one plain query at start; the machinery of migrations is loaded only where one has to run.
What may live here: comparing. What may not: changing tables.
"""

from pathlib import Path

import msgspec
from sqlalchemy import Connection, inspect, select

from trunkline.errors import ConfigError
from trunkline.storage.tables import schema


class Branch(msgspec.Struct, frozen=True):
    """The migrations of one feature.

    Parameters:
        name: revisions are called `name_0001` and so on.
        number: of the newest this code knows.
        folder: where the files are.
    """

    name: str
    number: int
    folder: Path


CORE = Branch("core", 1, Path(__file__).parent / "migrations")


class Version(msgspec.Struct, frozen=True):
    """What a database says of one branch: the migration it is at, and the oldest whose code can work with it."""

    number: int
    compatible_since: int


def versions(connection: Connection) -> dict[str, Version]:
    """The version of each branch; empty for a database without our tables."""
    if not inspect(connection).has_table(schema.name):
        return {}
    rows = connection.execute(select(schema.c.branch, schema.c.number, schema.c.compatible_since))
    return {branch: Version(number, since) for branch, number, since in rows}


def is_outdated(found: dict[str, Version], branch: Branch) -> bool:
    """Whether migrations have to run before this code can."""
    version = found.get(branch.name)
    return version is None or version.number < branch.number


def refuse_newer(found: dict[str, Version], branch: Branch, name: str) -> None:
    """Raises `ConfigError` when newer code has changed the tables in a way this code cannot work with.

    Migrations say since when they are compatible: during a rolling upgrade, replicas of the old version go on with
    tables that were only added to.
    """
    version = found.get(branch.name)
    if version is not None and version.number > branch.number < version.compatible_since:
        raise ConfigError(
            f"The database {name} was changed by a newer version of trunkline ({branch.name} {version.number}, this "
            f"one knows {branch.number}) in a way this one cannot work with: upgrade trunkline on this machine"
        )
