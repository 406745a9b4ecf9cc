"""Where a database is, and what is said of it."""

from pathlib import Path

import pytest

from trunkline.storage.location import locate, state_file


@pytest.mark.parametrize(
    ("url", "name", "file"),
    [
        ("sqlite:///state.db", "sqlite:///state.db", Path("state.db")),
        ("sqlite:////var/lib/x.db", "sqlite:////var/lib/x.db", Path("/var/lib/x.db")),
        ("sqlite:///a%20b.db", "sqlite:///a b.db", Path("a b.db")),
        ("postgresql://me:s3cret@host:5433/db?password=s3cret&port=1", "postgresql://me@host:5433/db?port=1", None),
        ("postgres:///db?host=/run/postgresql", "postgres:///db?host=/run/postgresql", None),
        ("postgresql://me:s3@cret@host/db", "postgresql://me@host/db", None),
    ],
)
def test_a_database_is_named_without_its_password(url: str, name: str, file: Path | None) -> None:
    location = locate(url)

    assert (location.name, location.file) == (name, file)
    assert "s3" not in repr(location)


def test_every_configuration_has_a_file_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    home = {"HOME": "/home/ann", "XDG_STATE_HOME": "/state"}
    one = state_file(Path("mcp.json"), home)

    assert one.parent == Path("/state/trunkline")
    assert one.name.startswith("mcp-") and one.suffix == ".db"
    assert one == state_file(tmp_path / "mcp.json", home)
    assert one != state_file(tmp_path / "other" / "mcp.json", home)
    monkeypatch.setattr("sys.platform", "linux")
    assert state_file(Path("x"), {"HOME": "/home/ann"}).parent == Path("/home/ann/.local/state/trunkline")
    assert state_file(Path("x"), {"HOME": "/h", "XDG_STATE_HOME": "relative"}).parent == Path(
        "/h/.local/state/trunkline"
    )
    monkeypatch.setattr("sys.platform", "darwin")
    assert state_file(Path("x"), {"HOME": "/h"}).parent == Path("/h/Library/Application Support/trunkline")
