"""`trunkline db` and `trunkline keys`: exit codes, and what a mistake is answered with."""

from pathlib import Path

import pytest

from trunkline.cli import main
from trunkline.storage import schema


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("command", ["db", "keys"])
def test_help_shows_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert f"examples:\n  trunkline {command}" in capsys.readouterr().out


def test_status_says_what_to_run(capsys: pytest.CaptureFixture[str]) -> None:
    url = "sqlite:///state.db"
    Path("state.db").touch()

    assert main(["db", "status", url]) == 1
    assert f"{url}: tasks has no tables yet\nrun: trunkline db upgrade {url}" in capsys.readouterr().out
    assert main(["db", "upgrade", url]) == 0
    assert main(["db", "upgrade", url]) == 0
    assert capsys.readouterr().out == f"{url}: ran core_0001, tasks_0001\n{url}: up to date\n"
    assert main(["db", "status", url]) == 0


@pytest.mark.parametrize(
    ("arguments", "code", "hint"),
    [
        (["db", "status", "sqlite:///missing.db"], 2, "There is no file missing.db"),
        (["db", "upgrade", "mysql://x/y"], 2, "is of an unknown kind; forms are sqlite:///"),
        (["db", "upgrade", "postgresql://u:s3cret@127.0.0.1:1/db"], 1, "does it run, may you connect?"),
        (["keys", "list", "missing.json"], 2, "cannot be read: No such file"),
        (["keys", "rotate", "missing.json"], 2, "cannot be read: No such file"),
        (["keys", "prune", "missing.json"], 2, "cannot be read: No such file"),
    ],
)
def test_a_mistake_is_said(arguments: list[str], code: int, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == code
    said = capsys.readouterr().err
    assert hint in said
    assert "s3cret" not in said
    assert not Path("missing.db").exists()


@pytest.mark.parametrize("time", ["10", "m", "-1m", "1.5h", "", "²m", "9999999d"])
def test_a_time_that_is_none_is_refused(time: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["keys", "rotate", "keys.json", f"--in={time}"])
    assert "is no time; forms are 90s, 10m, 2h and 1d" in capsys.readouterr().err


def test_no_key_is_ever_printed(capsys: pytest.CaptureFixture[str]) -> None:
    for action in ("new", "rotate", "list", "prune"):
        assert main(["keys", action, "keys.json"]) == 0
    said = capsys.readouterr()
    keys = [part for part in Path("keys.json").read_text().split('"') if len(part) == 44]

    assert len(keys) == 2
    assert not any(key[:6] in said.out + said.err for key in keys)


def test_a_file_others_may_read_is_said_to_be_one(capsys: pytest.CaptureFixture[str]) -> None:
    main(["keys", "new", "keys.json"])
    Path("keys.json").chmod(0o644)

    assert main(["keys", "list", "keys.json"]) == 0
    assert "chmod o-r keys.json" in capsys.readouterr().err


def test_status_tells_of_newer_tables(capsys: pytest.CaptureFixture[str]) -> None:
    url = "sqlite:///state.db"
    schema.upgrade(url)
    engine = schema._engine(schema.locate(url))
    for since, able in ((1, "can"), (9, "cannot")):
        with engine.begin() as connection:
            connection.exec_driver_sql(f"UPDATE trunkline_schema SET number = 9, compatible_since = {since}")
        assert main(["db", "status", url]) == 1
        assert f"core is at 9, newer than 1; this version of trunkline {able} work with it" in capsys.readouterr().out
    engine.dispose()
