"""References: expanded once, asked for once, and told by name when they lead nowhere."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.errors import ConfigError
from trunkline.portable.interpolate import Answers, resolve
from trunkline.portable.model import Entry, Input
from trunkline.portable.read import parse_document

WORK = Path("/work space")
ENVIRONMENT = {"HOME": "/home/ada", "TOKEN": "hunter2-long", "EMPTY": "", "NESTED": "${TOKEN}"}


def expanded(text: str, inputs: Answers | None = None) -> str:
    entry = Entry("s", "stdio", "x", (text,))
    return resolve(entry, ENVIRONMENT, inputs or Answers(), WORK).args[0]


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("${TOKEN}", "hunter2-long"),
        ("a ${env:TOKEN}/${TOKEN} b", "a hunter2-long/hunter2-long b"),
        ("${NONE:-https://a.example:80/x y}", "https://a.example:80/x y"),
        ("${NONE:-}", ""),
        ("${env:NONE:-d}", "d"),
        ("${TOKEN:-d}", "hunter2-long"),
        ("${EMPTY}", ""),
        ("${EMPTY:-d}", "d"),
        ("${NESTED}", "${TOKEN}"),
        ("${workspaceFolder}/x", "/work space/x"),
        ("${userHome}/x", "/home/ada/x"),
        ("$${TOKEN} $${", "${TOKEN} ${"),
        ("$TOKEN $ $$ {TOKEN} }", "$TOKEN $ $$ {TOKEN} }"),
    ],
)
def test_a_reference_is_expanded(text: str, outcome: str) -> None:
    assert expanded(text) == outcome


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("${NONE}", "the variable NONE is not set; set it, or give a default as ${NONE:-default}"),
        ("${env:NONE}", "the variable NONE is not set"),
        ("${TOKEN", "is not closed, or has a brace inside; write $${"),
        ("${NONE:-${TOKEN}}", "is not closed, or has a brace inside"),
        ("${{ secrets.X }}", "is not closed, or has a brace inside"),
        ("${}", "this reference is not known; ${VAR}, ${VAR:-default}"),
        ("${op:vault/item}", "this reference is not known"),
        ("${a b}", "this reference is not known"),
        ("${input:who}", "the input 'who' is not declared under `inputs`; declared: none"),
    ],
)
def test_a_reference_that_leads_nowhere_names_server_and_field(text: str, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        expanded(text)

    assert caught.value.message.startswith('server "s": args[0]: ')
    assert what in caught.value.message


def test_references_are_expanded_in_every_field_that_may_hold_one() -> None:
    text = """{"servers": {
      "local": {"command": "${BIN}", "args": ["${A}"], "env": {"E": "${A}"}, "cwd": "sub/${A}"},
      "remote": {"url": "https://${A}.example/${A}", "headers": {"X-Key": "${A}"}}
    }}"""
    local, remote = parse_document(text, "mcp.json").entries
    environment = {"BIN": "/bin/x", "A": "a"}

    started = resolve(local, environment, Answers(), WORK)
    called = resolve(remote, environment, Answers(), WORK)

    assert (started.command, started.args, started.env) == ("/bin/x", ("a",), {"E": "a"})
    assert started.cwd == "/work space/sub/a"
    assert (called.url, called.headers) == ("https://a.example/a", {"X-Key": "a"})
    assert local.command == "${BIN}", "the document stays as it was written"


def test_an_input_is_asked_for_once_for_the_whole_document() -> None:
    asked: list[Input] = []

    def ask(wanted: Input) -> str:
        asked.append(wanted)
        return f"answer {len(asked)}"

    token, other = Input("token", password=True), Input("other")
    answers = Answers([token, other], ask)

    assert expanded("${input:token} ${input:token}", answers) == "answer 1 answer 1"
    assert expanded("${input:token} ${input:other}", answers) == "answer 1 answer 2"
    assert asked == [token, other]


def test_an_input_nobody_refers_to_is_never_asked_for() -> None:
    def ask(wanted: Input) -> str:
        raise AssertionError(wanted.id)

    assert expanded("plain", Answers([Input("token")], ask)) == "plain"


def test_where_nobody_can_be_asked_the_default_answers() -> None:
    answers = Answers([Input("a", default="d"), Input("b")])

    assert expanded("${input:a}", answers) == "d"
    with pytest.raises(ConfigError, match="the input 'b' has no default and nobody can be asked"):
        expanded("${input:b}", answers)


def test_a_pick_must_be_one_of_its_options() -> None:
    answers = Answers([Input("a", "pickString", options=("eu", "us"))], lambda wanted: "hunter2")

    with pytest.raises(ConfigError, match="not one of its options") as caught:
        expanded("${input:a}", answers)
    assert "hunter2" not in caught.value.message


def test_an_environment_file_loses_against_env(tmp_path: Path) -> None:
    (tmp_path / "x.env").write_text("A=file\nB=file\n")
    entry = Entry("s", "stdio", "x", env={"B": "env", "C": "env"}, env_file="${NAME}.env")

    resolved = resolve(entry, {"NAME": "x"}, Answers(), tmp_path)

    assert resolved.env == {"A": "file", "B": "env", "C": "env"}
    assert resolved.env_file is None


def test_a_missing_environment_file_is_named() -> None:
    with pytest.raises(ConfigError, match=r'server "s": envFile: /nowhere/\.env: cannot be read: No such file'):
        resolve(Entry("s", "stdio", "x", env_file="/nowhere/.env"), {}, Answers(), WORK)


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        (Entry("s", "stdio", "${A}"), "command: is empty"),
        (Entry("s", "stdio", "x", ("\0",)), "args[0]: holds a zero byte"),
        (Entry("s", "stdio", "x", env={"K": "a\0b"}), "env.K: holds a zero byte"),
        (Entry("s", "http", url="${A}"), "url: is not an http:// or https:// address"),
        (Entry("s", "http", url="unix:///run/x.sock"), "url: is not an http:// or https:// address"),
        (Entry("s", "http", url="https://"), "url: is not an http:// or https:// address"),
        (Entry("s", "http", url="http://[::1"), "url: is not an http:// or https:// address"),
        (Entry("s", "http", url="http://a", headers={"X": "a\r\nY: b"}), "headers.X: holds a line break"),
    ],
)
def test_what_cannot_be_used_is_refused_once_it_is_expanded(entry: Entry, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(entry, {"A": ""}, Answers(), WORK)

    assert caught.value.message.startswith('server "s": ' + what)


def test_a_resolved_entry_knows_what_no_log_may_show(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("FILE=from-the-file\n")
    entry = Entry(
        "s",
        "http",
        args=("--key=${TOKEN}",),
        env={"LITERAL": "ghp_literal", "DEBUG": "1"},
        env_file=".env",
        url="https://a.example/${input:path}",
        headers={"Authorization": "Bearer from-a-header"},
    )
    answers = Answers([Input("path")], lambda wanted: "from-a-person")

    resolved = resolve(entry, ENVIRONMENT, answers, tmp_path)

    assert resolved.secret_values == {
        *("hunter2-long", "ghp_literal", "from-the-file", "from-a-person"),
        *("Bearer from-a-header", "from-a-header"),
    }
    shown = repr(resolved)
    assert not [secret for secret in resolved.secret_values - {"from-a-person"} if secret in shown]


@given(st.text(st.sampled_from("${}:-_ aAenvinput1/\n\0")) | st.text())
def test_any_text_is_expanded_or_complained_about(text: str) -> None:
    try:
        outcome = expanded(text)
    except ConfigError as error:
        assert error.message.startswith('server "s": args[0]: ')
    else:
        assert "${" in text or outcome == text


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",))))
def test_what_is_put_in_arrives_unchanged(value: str) -> None:
    entry = Entry("s", "stdio", "x", ("<${V}>", "<${input:i}>"))

    resolved = resolve(entry, {"V": value}, Answers([Input("i")], lambda wanted: value), WORK)

    assert resolved.args == (f"<{value}>", f"<{value}>")


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",))))
def test_doubling_the_dollar_keeps_any_text_as_it_stands(value: str) -> None:
    assert expanded(value.replace("${", "$${")) == value
