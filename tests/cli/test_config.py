"""`trunkline config` against golden files; what it prints is read by people and by scripts."""

import shutil
from pathlib import Path

import pytest

from trunkline.cli import main

GOLDEN = Path(__file__).parents[1] / "data" / "config"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(GOLDEN, tmp_path / "config")
    monkeypatch.chdir(tmp_path / "config")
    for name in ("CI_TOKEN", "NOT_SET"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "config"


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return "".join(f"{line.rstrip()}\n" for line in capsys.readouterr().out.splitlines())


@pytest.mark.parametrize("file", ["broken.yaml", "semantics.yaml", "broken.json", "trunkline.yaml"])
def test_check_says_everything_that_is_wrong(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "check", file]) == 2
    assert said(capsys) == Path(f"check-{file.replace('.', '-')}.txt").read_text("utf-8")


@pytest.mark.parametrize("file", ["trunkline.yaml", "mcp.json"])
def test_show_says_what_holds_and_why(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show", file]) == 0
    assert said(capsys) == Path(f"show-{file.replace('.', '-')}.txt").read_text("utf-8")


KEYS = ["", "listen.port", "servers.NAME.request_timeout", "servers.NAME.operations", "tokens"]


@pytest.mark.parametrize("key", KEYS)
def test_explain_says_what_a_key_does(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "explain", *key.split()]) == 0
    assert said(capsys) == Path(f"explain{key and '-'}{key}.txt").read_text("utf-8")


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("port", "listen.port"),
        ("servers.my.files.env", "servers.NAME.env"),
        ("servers.my.pets.operations.overrides.list.all.name", "servers.NAME.operations.overrides.NAME.name"),
        ("endpoints.oslo.edit_tools.x.pin", "endpoints.NAME.edit_tools.NAME.pin"),
        ("tokens[0].name", "tokens[].name"),
        ("tokens.name", "tokens[].name"),
    ],
)
def test_explain_takes_a_key_as_it_stands_in_a_file(key: str, path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "explain", key]) == 0
    assert said(capsys).startswith(f"{path}\n")


def test_a_sound_file_is_said_to_be_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CI_TOKEN", "token-of-ci")
    (folder / "token").write_text("token-of-docs")

    assert main(["config", "check", "trunkline.yaml"]) == 0
    assert said(capsys) == "trunkline.yaml: no problem found\n"


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (None, "the document {folder}/api.json cannot be read: No such file or directory"),
        ("[1]", "api.json is no OpenAPI document"),
        ('{"openapi": "3.1.0", "paths": {}}', "the document has no operation to show"),
    ],
)
def test_check_reads_the_documents_of_apis(
    folder: Path,
    document: str | None,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CI_TOKEN", "token-of-ci")
    (folder / "token").write_text("token-of-docs")
    (folder / "api.json").unlink() if document is None else (folder / "api.json").write_text(document)

    assert main(["config", "check", "trunkline.yaml"]) == 2
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f'trunkline.yaml:12: server "pets": {said.format(folder=folder)}')


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["explain", "listen.prot"], "did you mean listen.port?"),
        (["explain", "servers.my.files.comand"], "did you mean servers.NAME.command?"),
        (["explain", "zzz"], "shows all keys"),
        (["show", "broken.yaml"], "did you mean `command`?"),
        (["show", "gone.json"], "gone.json: cannot be read"),
    ],
)
def test_a_mistake_is_said_on_stderr(arguments: list[str], hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", *arguments]) == 2
    assert hint in capsys.readouterr().err


def test_no_secret_is_ever_printed() -> None:
    assert [path.name for path in GOLDEN.glob("*.txt") if "hunter2" in path.read_text("utf-8")] == []
    assert "hunter2" in (GOLDEN / "mcp.json").read_text("utf-8")


def test_a_file_cannot_drive_the_terminal(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "mcp.json").write_text('{"mcpServers": {"a\\u001b[2J": {"command": "x\\u0007"}}}')

    assert main(["config", "show", "mcp.json"]) == 0
    shown = capsys.readouterr().out
    assert "\\x1b[2J.command" in shown and "x\\x07" in shown
    assert "\x1b" not in shown
