"""What a person gets from a file: servers however they are spelled, and mistakes told so that they can be repaired."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.errors import ConfigError
from trunkline.portable.model import Entry
from trunkline.portable.read import parse_document, read_document

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KNOWN = [
    *("command", "cmd", "args", "url", "serverUrl", "type", "transport", "env", "headers", "requestOptions", "tools"),
    *("timeout", "disabled", "enabled", "cwd", "envFile", "autoApprove", "includeTools", "title", "name"),
]
MEMBERS = st.dictionaries(st.sampled_from(KNOWN), JSON | st.sampled_from(["stdio", "http", "https://a.example/sse"]))


def one(**members: object) -> Entry:
    """The only server of a file, read."""
    return parse_document(json.dumps({"mcpServers": {"s": members}}), "mcp.json").entries[0]


def complaint(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_document(text, "mcp.json")
    return caught.value.message


@pytest.mark.parametrize(
    ("spelling", "transport"),
    [
        *((word, "http") for word in ("http", "streamable-http", "streamableHttp", "streamable_http")),
        ("sse", "sse"),
    ],
)
@pytest.mark.parametrize("member", ["type", "transport"])
@pytest.mark.parametrize("address", ["url", "serverUrl", "httpUrl", "uri"])
def test_a_remote_server_under_any_spelling(spelling: str, transport: str, member: str, address: str) -> None:
    entry = one(**{member: spelling, address: "https://a.example/mcp"})

    assert (entry.transport, entry.url, entry.sse_fallback) == (transport, "https://a.example/mcp", False)


@pytest.mark.parametrize(
    ("url", "transport", "fallback"),
    [
        ("https://a.example/mcp", "http", True),
        ("https://a.example/sse", "sse", False),
        ("https://a.example/x/sse/?k=v#f", "sse", False),
        ("https://a.example/mcp?next=/sse", "http", True),
        ("${BASE}/sse", "sse", False),
    ],
)
def test_an_address_alone_is_http_that_may_fall_back_unless_it_ends_in_sse(
    url: str, transport: str, fallback: bool
) -> None:
    entry = one(url=url)

    assert (entry.transport, entry.sse_fallback) == (transport, fallback)


def test_vs_code_lets_http_fall_back_to_sse() -> None:
    text = '{"servers": {"s": {"type": "http", "url": "https://a.example"}}}'

    assert parse_document(text, "mcp.json").entries[0].sse_fallback


@pytest.mark.parametrize("command", ["command", "cmd"])
@pytest.mark.parametrize("env", ["env", "envs", "environment"])
def test_a_started_server_under_any_spelling(command: str, env: str) -> None:
    entry = one(**{command: "uvx", "args": ["x", 80], env: {"PORT": 80}, "cwd": "/srv", "envFile": ".env"})

    assert entry == Entry("s", "stdio", "uvx", ("x", "80"), {"PORT": "80"}, ".env", "/srv")


def test_a_command_may_be_a_list() -> None:
    assert one(command=["npx", "-y", "x"], args=["z"]) == Entry("s", "stdio", "npx", ("-y", "x", "z"))


def test_our_own_member_has_the_times_no_client_has() -> None:
    times = {"connect_timeout": 1, "idle_timeout": 2.5, "total_timeout": 3, "drain_timeout": 4}
    entry = one(url="http://x", trunkline=times)

    assert (entry.connect_timeout, entry.idle_timeout, entry.total_timeout, entry.drain_timeout) == (1, 2.5, 3, 4)
    for wrong, said in ((0, "a number above 0 is accepted"), ("3", "is a string"), (True, "is true")):
        text = json.dumps({"mcpServers": {"s": {"command": "x", "trunkline": {"total_timeout": wrong}}}})
        assert f"trunkline.total_timeout: {said}" in complaint(text)


def test_our_own_member_says_how_processes_are_shared_and_what_is_held_to_pins() -> None:
    entry = one(command="x", trunkline={"processes": "per-session", "pins": "strict"})

    assert (entry.processes, entry.pins, entry.extra) == ("per-session", "strict", {})
    assert (one(command="x").processes, one(command="x").pins) == ("shared", None)
    assert one(command="x", trunkline={"processes": "per-call"}).processes == "per-call"
    for wrong, said in (
        ({"processes": "each"}, "'per-session'"),
        ({"pins": True}, "'strict'"),
        ({"process": "shared"}, "`tasks` and `auth`"),
        ("per-session", "`tasks` and `auth`"),
    ):
        text = json.dumps({"mcpServers": {"s": {"command": "x", "trunkline": wrong}}})
        assert said in complaint(text)


def test_null_counts_as_absent_and_unknown_members_are_kept_as_they_are() -> None:
    entry = one(command="x", url=None, headers=None, future={"a": [1, None]}, other=None)

    assert entry == Entry("s", "stdio", "x", extra={"future": {"a": [1, None]}, "other": None})


@pytest.mark.parametrize(
    ("members", "disabled"),
    [
        ({}, False),
        ({"disabled": True}, True),
        ({"enabled": False}, True),
        ({"disabled": False, "enabled": True}, False),
    ],
)
def test_a_server_can_be_switched_off(members: dict[str, object], disabled: bool) -> None:
    assert one(command="x", **members).disabled is disabled


@pytest.mark.parametrize(
    ("members", "shown"),
    [
        ({}, {"read", "read_all", "delete", "r[a]"}),
        ({"tools": {"allow": ["read*"]}}, {"read", "read_all"}),
        ({"tools": {"allow": ["read*"], "deny": ["*_all"]}}, {"read"}),
        ({"tools": {"deny": ["*"]}}, set()),
        ({"tools": ["delete"]}, {"delete"}),
        ({"tools": ["*"]}, {"read", "read_all", "delete", "r[a]"}),
        ({"tools": []}, set()),
        ({"includeTools": ["r[a]"]}, {"r[a]"}),
        ({"includeTools": ["read", "delete"], "excludeTools": ["delete"]}, {"read"}),
        ({"enabled_tools": ["read"], "disabled_tools": []}, {"read"}),
        ({"disabledTools": ["read"], "tools": {"deny": ["r*l"]}}, {"delete", "r[a]"}),
        ({"available_tools": ["read"]}, {"read"}),
        ({"available_tools": []}, {"read", "read_all", "delete", "r[a]"}),
    ],
)
def test_tool_lists_show_and_hide(members: dict[str, object], shown: set[str]) -> None:
    entry = one(command="x", **members)

    assert {tool for tool in ("read", "read_all", "delete", "r[a]") if entry.admits(tool)} == shown


@pytest.mark.parametrize(
    ("path", "members", "startup", "each"),
    [
        ("mcp.json", {"timeout": 60000}, None, 60),
        ("mcp.json", {"timeout": {"startup": 5000, "request": 1500}}, 5, 1.5),
        ("mcp.json", {"startup_timeout_sec": 20, "tool_timeout_sec": 0.5}, 20, 0.5),
        ("mcp.json", {"startup_timeout_sec": 20, "timeout": 60000}, 20, 60),
        ("mcp.json", {"timeout": 60, "autoApprove": []}, None, 60),
        ("mcp.json", {"timeout": 60000, "autoApprove": []}, None, 60),
        ("mcp.json", {"timeout": 300, "envs": {}}, None, 300),
        ("x/cline_mcp_settings.json", {"timeout": 60}, None, 60),
        (".roo/mcp.json", {"timeout": 60}, None, 60),
    ],
)
def test_timeouts_are_seconds_whatever_the_client_counts(
    path: str, members: dict[str, object], startup: float | None, each: float
) -> None:
    text = json.dumps({"mcpServers": {"s": {"command": "x", **members}}})
    entry = parse_document(text, path).entries[0]

    assert (entry.startup_timeout, entry.request_timeout) == (startup, each)


@pytest.mark.parametrize("name", ["", "two words", "übung", "a/b", "\n", "mcpServers", "__proto__"])
def test_any_string_is_a_name(name: str) -> None:
    servers = {name: {"command": "x"}}

    assert parse_document(json.dumps({"mcpServers": servers}), "f").entries[0].name == name
    assert parse_document(json.dumps([{"name": name, "command": "x"}]), "f").entries[0].name == name


@pytest.mark.parametrize("name", ["servers", "mcpServers", "inputs", "context_servers"])
def test_at_the_root_a_server_may_have_the_name_of_a_key(name: str) -> None:
    document = parse_document(json.dumps({"$schema": "s", name: {"command": "x"}}), "f")

    assert (document.format, [entry.name for entry in document.entries]) == ("root", [name])


@pytest.mark.parametrize(
    ("member", "what"),
    [
        ('"command": 1', 'server "git": command: is a number; a string, or a list of the command'),
        ('"args": []', "says neither how to start nor where to reach it; give `command` or `url`"),
        ('"command": "x", "url": "http://a"', "has both a command and a URL"),
        ('"type": "ws", "url": "ws://a"', 'type: is not a known transport; "stdio", "http"'),
        ('"type": 3, "url": "http://a"', "type: is a number; "),
        ('"type": "stdio", "url": "http://a"', "is a stdio server without a command"),
        ('"type": "sse", "command": "x"', "is a remote server without an address"),
        ('"command": "x", "args": "a b"', "args: is a string; a list of strings is accepted"),
        ('"command": "x", "args": [["a"]]', "args[0]: is a list; a string is accepted"),
        ('"command": "x", "env": {"A": true}', "env.A: is true; a string is accepted: put the value in quotes"),
        ('"command": "x", "env": {"A": 1.50}', "env.A: is a number; a string is accepted: put the value in quotes"),
        ('"command": "x", "env": {"A=B": "c"}', "env: holds a name that no process can be given"),
        ('"command": "x", "env": ["A=b"]', "env: is a list; an object of strings is accepted"),
        ('"url": "http://a", "headers": {"A b": "c"}', "headers.A b: is not a header name"),
        ('"url": "http://a", "serverUrl": "http://b"', "serverUrl: says something else than `url`"),
        ('"command": "x", "disabled": "yes"', "disabled: is a string; true or false, without quotes, is accepted"),
        ('"command": "x", "disabled": true, "enabled": true', "`disabled` and `enabled` contradict each other"),
        ('"command": "x", "tools": {"allow": "a"}', "tools.allow: is a string; a list of strings is accepted"),
        ('"command": "x", "tools": {"a": false}', "tools: is no tool list"),
        ('"command": "x", "tools": ["a"], "includeTools": ["b"]', "lists the tools to show twice"),
        ('"command": "x", "timeout": 60', "timeout: counts milliseconds in this file, and less than 1000 are too few"),
        ('"command": "x", "timeout": 0', "timeout: a number above 0 is accepted"),
        ('"command": "x", "timeout": "60s"', "timeout: is a string; a number is accepted"),
        ('"command": "x", "timeout": {"read": 1}', "timeout: holds unknown members; `startup` and `request`"),
        ('"command": "x", "timeout": 6000, "tool_timeout_sec": 7', "contradict each other; keep one"),
        ('"command": "x", "cwd": 1', "cwd: is a number; a string is accepted"),
    ],
)
def test_a_mistake_names_file_line_server_field_and_what_is_accepted(member: str, what: str) -> None:
    text = '{\n "mcpServers": {\n  "ok": {"command": "x"},\n  "git": {\n   ' + member + "\n}}}"
    message = complaint(text)

    assert message.startswith(('mcp.json:4: server "git": ', 'mcp.json:5: server "git": '))
    assert what in message


@pytest.mark.parametrize(
    "text",
    ["{}", "1", '"x"', '{"theme": "dark"}', '{"command": "uvx"}', '{"a": {"b": 1}}', '{"mcpServer": {"a": {}}}'],
)
def test_an_unknown_shape_is_told_what_is_accepted(text: str) -> None:
    message = complaint(text)

    assert "not a server list; accepted are an object with `mcpServers`, with `servers`" in message


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('{"mcpServers": 1}', "mcp.json:1: mcpServers: is a number; an object of servers by name, or a list"),
        ('{"mcpServers": {}, "servers": {}}', "servers under both `mcpServers` and `servers`"),
        ('{"mcpServers": {"a": 1}}', 'server "a": is a number; an object with `command` or `url` is accepted'),
        ('{"mcpServers": {"a": {}, "a": {}}}', 'the key "a" is given twice'),
        ('[{"command": "x"}]', "server 1 of the list: has no name"),
        ("[3]", "server 1 of the list: has no name"),
        ('[{"name":"a","command":"x"},{"name":"a","command":"x"}]', "server 2 of the list: has the name of an earlier"),
        ('{"servers": {}, "inputs": {}}', "inputs: is an object; a list of inputs is accepted"),
        ('{"servers": {}, "inputs": [1]}', "input 1: is a number; an object with `id` and `type`"),
        ('{"servers": {}, "inputs": [{"type": "promptString"}]}', "input 1: has no `id`"),
        ('{"servers": {}, "inputs": [{"id": "a", "type": "command"}]}', "type: is not a known input type"),
        ('{"servers": {}, "inputs": [{"id": "a", "type": "pickString"}]}', "is a `pickString` without `options`"),
        ('{"servers": {}, "inputs": [{"id": "a"}, {"id": "a"}]}', "input 2: id: is the id of an earlier input"),
    ],
)
def test_a_broken_document_is_refused(text: str, what: str) -> None:
    assert what in complaint(text)


def test_one_broken_server_can_be_set_aside_so_that_the_others_run() -> None:
    text = """[
      {"name": "good", "command": "x"},
      {"name": "bad", "type": "ftp", "url": "ftp://a"},
      {"command": "nameless"},
      {"name": "good", "command": "again"},
    ]"""
    document = parse_document(text, "mcp.json", collect=True)

    assert document.entries == (Entry("good", "stdio", "x"),)
    assert [problem.server for problem in document.problems] == ["bad", None, "good"]
    assert document.problems[0].message.startswith('mcp.json:3: server "bad": type: is not a known transport')


@given(MEMBERS, st.sampled_from(["mcpServers", "servers", "context_servers"]))
def test_no_entry_is_beyond_a_complaint(members: dict[str, object], key: str) -> None:
    text = json.dumps({key: {"s": members, "t": {"command": "x"}}, "inputs": [members]})
    document = parse_document(text, "mcp.json", collect=True)

    assert "t" in [entry.name for entry in document.entries]
    assert len(document.entries) + len([p for p in document.problems if p.server == "s"]) == 2


@given(JSON)
def test_no_document_is_beyond_a_complaint(value: object) -> None:
    try:
        parse_document(json.dumps(value), "mcp.json")
    except ConfigError as error:
        assert error.message.startswith("mcp.json")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing, binary = tmp_path / "none.json", tmp_path / "binary.json"
    binary.write_bytes(b"\xff\xfe{}")

    with pytest.raises(ConfigError, match=r"none\.json: cannot be read: No such file"):
        read_document(missing)
    with pytest.raises(ConfigError, match=r"binary\.json: is not UTF-8"):
        read_document(binary)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_document(tmp_path)


def test_an_editors_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    file = tmp_path / "mcp.json"
    file.write_bytes(b'\xef\xbb\xbf{"mcpServers": {}}')

    assert read_document(file).entries == ()


def test_a_repr_shows_no_secret() -> None:
    url = "https://user:hunter2@a.example/mcp?key=hunter2#hunter2"
    remote = one(url=url, headers={"Authorization": "Bearer hunter2"}, oauth={"clientSecret": "hunter2"})
    local = one(command="x", args=["--token", "hunter2"], env={"TOKEN": "hunter2"})
    document = parse_document(
        '{"servers": {}, "inputs": [{"id": "a", "password": true, "default": "hunter2"}]}', "mcp.json"
    )

    assert repr(remote) == ("Entry('s', http, url='https://a.example/mcp', env={}, headers={Authorization=***})")
    assert "hunter2" not in f"{remote!r} {local!r} {document!r}"
    assert "TOKEN=***" in repr(local)


def test_a_mistake_shows_no_secret_and_nothing_a_terminal_obeys() -> None:
    text = json.dumps({"mcpServers": {"\x1b[2J": {"command": "x", "env": {"A": ["hunter2"]}, "args": "hunter2"}}})
    message = complaint(text)

    assert "hunter2" not in message
    assert "\x1b" not in message
