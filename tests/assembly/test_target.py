"""What a person points at."""

from pathlib import Path

import pytest

from trunkline.assembly.target import classify, load_server
from trunkline.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("http://127.0.0.1:8808/mcp", "url"),
        ("https://mcp.example.com", "url"),
        ("mcp.json", "config"),
        ("~/.cursor/mcp.json", "config"),
        ("my servers.json", "config"),
        ("python3 -m server mcp.json", "command"),
        ("python3 server.py", "command"),
        ("server.py", "server"),
        ("server.py:weather", "server"),
        ("package.module:server", "server"),
        ("uvx mcp-server-time", "command"),
        ("python3", "command"),
    ],
)
def test_each_form_is_told_apart(text: str, kind: str) -> None:
    assert classify(text).kind == kind


@pytest.mark.parametrize("text", ["nonsense-that-is-nothing", "", "a:b:c"])
def test_what_is_nothing_is_said_with_the_forms_there_are(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a target"):
        classify(text)


SERVER = "from trunkline import Server\n"


@pytest.mark.parametrize(
    ("source", "suffix", "name"),
    [
        ("server = Server('a')\nother = Server('b')", "", "a"),
        ("mcp = Server('a')", "", "a"),
        ("anything = Server('a')", "", "a"),
        ("one = Server('a')\ntwo = Server('b')", ":two", "b"),
    ],
)
def test_the_server_of_a_file_is_found(tmp_path: Path, source: str, suffix: str, name: str) -> None:
    (tmp_path / "made.py").write_text(SERVER + source)

    assert load_server(f"{tmp_path}/made.py{suffix}").name == name


@pytest.mark.parametrize(
    ("source", "suffix", "said"),
    [
        ("one = Server('a')\ntwo = Server('b')", "", "has 2 trunkline Servers; name one"),
        ("x = 1", "", "has no trunkline Servers"),
        ("server = 1", ":server", "has no trunkline Server called 'server'"),
        ("raise RuntimeError('boom')", "", "RuntimeError: boom"),
        ("def (", "", "SyntaxError"),
    ],
)
def test_what_cannot_be_served_is_said(tmp_path: Path, source: str, suffix: str, said: str) -> None:
    (tmp_path / "made.py").write_text(SERVER + source)

    with pytest.raises(ConfigError) as raised:
        load_server(f"{tmp_path}/made.py{suffix}")

    assert said in str(raised.value)
