"""`trunkline.yaml`: what it may say, and what is said about mistakes."""

import base64
import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trunkline.assembly.configuration import Listen
from trunkline.assembly.gateway import read_gateway
from trunkline.assembly.settings import read_settings
from trunkline.assembly.sharing import Sharing
from trunkline.assembly.showing import check, show
from trunkline.engine.doors import RequestFacts
from trunkline.engine.sealed import Keys
from trunkline.errors import ConfigError

SHORT = b'{"keys": [{"from": "2026-11-01T12:00:00Z", "key": "c2VjcmV0"}]}'

FULL = """
include: [mcp.json]
servers:
  time: &defaults
    command: uvx
    args: [mcp-server-time]
    env: {API_KEY: "${env:KEY}", PORT: "8080"}
    allow: [get_*]
    deny: [get_secret]
    startup_timeout: 20
    idle_timeout: 1
    request_timeout: 2.5
    total_timeout: 60
    drain_timeout: 7
  docs:
    url: https://docs.example.com/sse
    headers: {Authorization: "Bearer ${file:token}"}
    disabled: false
    connect_timeout: 3
    title: Docs
listen:
  port: 9000
  allowed_hosts: [mcp.example.com]
  call_timeout: 30
tokens:
  - name: ci
    secret: ${env:CI_TOKEN}
    tools: [time__*]
"""


def write(folder: Path, text: str) -> str:
    path = folder / "trunkline.yaml"
    path.write_text(text)
    return str(path)


def faults(folder: Path, text: str) -> list[str]:
    return [fault.removeprefix(f"{folder}/") for fault in read_settings(write(folder, text)).faults]


async def test_everything_it_says_is_used(tmp_path: Path) -> None:
    (tmp_path / "mcp.json").write_text(json.dumps({"mcpServers": {"git": {"command": "git-server"}}}))
    (tmp_path / "token").write_text("token-of-docs\n")
    environment = {"KEY": "key-of-time", "CI_TOKEN": "token-of-ci"}
    gateway = read_gateway(write(tmp_path, FULL), environment=environment)
    git, time, docs = gateway.plan.entries

    assert not gateway.problems
    assert git.command == "git-server"
    assert (time.env, time.admits("get_time"), time.admits("get_secret")) == (
        {"API_KEY": "key-of-time", "PORT": "8080"},
        True,
        False,
    )
    assert (time.startup_timeout, time.request_timeout, time.drain_timeout) == (20, 2.5, 7)
    assert (time.idle_timeout, time.total_timeout, docs.connect_timeout) == (1, 60, 3)
    assert (docs.transport, docs.headers) == ("sse", {"Authorization": "Bearer token-of-docs"})
    assert "token-of-docs" in docs.secret_values
    assert gateway.plan.settings.listen == Listen(port=9000, allowed_hosts=("mcp.example.com",), call_timeout=30)
    assert gateway.application.call_timeout == 30
    assert gateway.application.authenticator is not None
    facts = RequestFacts("POST", "http://h/mcp", {b"authorization": b"Bearer token-of-ci"}, b"")
    principal = await gateway.application.authenticator.authenticate(facts)
    assert (principal.subject, principal.tools) == ("ci", ("time__*",))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("server: {}", 'trunkline.yaml:1: the key "server" is not known; did you mean `servers`?'),
        ("mcpServers: {}", "did you mean `servers`?"),
        (
            "servers:\n  a:\n    comand: x\n    command: x",
            'trunkline.yaml:3: server "a": the key "comand" is not known; did you mean `command`?',
        ),
        ("servers: {a: {command: x, envFile: .env}}", "did you mean `env_file`?"),
        ("servers: {a: {command: x, zzz: 1}}", "accepted are `command`, `args`"),
        ("servers: {a: {command: 5}}", "command: is a number; a string is accepted: put the value in quotes"),
        ("servers: {a: {command: x, args: x}}", "args: is a string; a list of strings is accepted"),
        ("servers: {a: {command: x, env: {PORT: 80}}}", "env.PORT: is a number; a string is accepted: put the value"),
        ("servers: {a: {command: x, disabled: yes}}", "disabled: is a string; true or false, without quotes, is"),
        ("servers: {a: {command: x, request_timeout: 0}}", "request_timeout: cannot be used; a number above 0 is"),
        ("servers: {a: {url: 'http://x', transport: ws}}", "is not one of the words there are; http, openapi"),
        ("servers: {a: {}}", "says neither how to start nor where to reach it"),
        ("servers: {a: {command: x, url: 'http://x'}}", "has both a command and a URL"),
        ("servers: [a]", "servers: is a list; a mapping of names to mappings is accepted"),
        ("servers: {a: x}", 'server "a": is a string; a mapping is accepted'),
        ("listen: {port: 70000}", "listen.port: cannot be used; a whole number from 0 to 65535 is accepted"),
        ("listen: {path: mcp}", 'listen.path: cannot be used; a path that begins with "/" is accepted'),
        ("tokens: [{secret: '${env:X}'}]", "tokens[0]: has no `name`; a string that is not empty is needed"),
        ("tokens: [{name: a}]", "tokens[0]: needs either `sha256` or `secret`"),
        ("tokens: [{name: a, secret: hunter2}]", "tokens[0].secret: is no reference; ${env:NAME}"),
        ("servers: {a: {url: 'http://x', headers: {Authorization: hunter2}}}", "headers.Authorization: holds a secret"),
        ("servers: {a: {command: x, env: {GITHUB_TOKEN: hunter2}}}", "refer to it: ${env:GITHUB_TOKEN}"),
        ("storage: disk", "storage: is not one of the words there are; a mapping or memory is"),
        ("storage: 5", "storage: is a number; a mapping or memory is accepted"),
        ("storage: {uri: 'sqlite:///x.db'}", 'storage: the key "uri" is not known; did you mean `url`?'),
        ("storage: {url: 'postgresql://a:hunter2@db/x'}", "storage.url: holds a password; refer to it: ${env:"),
        ("storage: {url: 'postgresql://a:hunter2${env:P}@db/x'}", "storage.url: holds a password"),
        ("storage: {url: 'postgresql://db/x?user=a&password=hunter2'}", "storage.url: holds a password"),
        ("listen: {drain_delay: -1}", "listen.drain_delay: cannot be used; a number, 0 or more, is accepted"),
        ("include: [gone.json]", "gone.json: cannot be read: No such file or directory"),
        ("include: [other.yaml]", "include[0]: is not the file of a client"),
        ("servers: {a: {transport: openapi, file: x, bas_url: y}}", "did you mean `base_url`?"),
        ("servers: {a: {transport: openapi, file: x, command: y}}", "command: is for a server that is started"),
        ("servers: {a: {transport: openapi, file: x, env: {A: b}}}", "env: is for a server that is started, and"),
        ("servers: {a: {transport: openapi, file: x, url: 'http://y'}}", "a `url` or a `file`: give one"),
        ("servers: {a: {transport: openapi}}", "a `url` or a `file`: give one"),
        ("servers: {a: {file: x}}", "file: is for an OpenAPI document: set `transport: openapi`"),
        ("servers: {a: {url: 'http://x', auth: {k: '${env:K}'}}}", 'auth: the key "k" is not known'),
        ("servers: {a: {command: x, operations: {output: false}}}", "this is a server that is started: remove it"),
        ("servers: {a: {command: x, headers: {A: b}}}", "headers: is for a server at an address, and this"),
        ("servers: {a: {url: 'http://x', args: [b]}}", "args: is for a server that is started, and this"),
        ("servers: {a: {transport: openapi, file: x, auth: {key: hunter2}}}", "auth.key: holds a secret; refer to it"),
        ("servers: {a: {transport: openapi, file: x, variables: {token: hunter2}}}", "variables.token: holds a secret"),
        (
            "servers: {a: {transport: openapi, file: x, operations: {overrides: {o: {arguments: {token: hunter2}}}}}}",
            "operations.overrides.o.arguments.token: holds a secret; refer to it: ${env:TOKEN}",
        ),
        (
            "servers: {a: {transport: openapi, file: x, operations: {overrides: {o: {nam: x}}}}}",
            'operation "o": the key "nam" is not known; did you mean `name`?',
        ),
        ("servers: {a: {command: x, connect_timeout: 3}}", "connect_timeout: is for a server at an address, and this"),
        (
            "servers: {a: {command: x, request_timeout: 9, total_timeout: 5}}",
            "request_timeout: is longer than `total_timeout`, which is always up before it: make it shorter",
        ),
        ("servers: {a: {command: x, idle_timeout: 9, request_timeout: 5}}", "idle_timeout: is longer than `request_t"),
        ("servers: {a: {url: 'http://x', connect_timeout: 9, startup_timeout: 5}}", "longer than `startup_timeout`"),
        ("- a", "trunkline.yaml:1: is a list; a mapping is accepted"),
        ("servers: {a: {command: x, tasks: 5}}", "tasks: is a number; true or false, without quotes, or a mapping is"),
        ("servers: {a: {command: x, tasks: {attempt: 5}}}", 'the key "attempt" is not known; did you mean `attempts`?'),
        ("servers: {a: {command: x, tasks: {attempts: 0}}}", "tasks.attempts: cannot be used; a whole number from 1"),
        ("servers: {a: {command: x, tasks: {ttl: 1h}}}", "tasks.ttl: is a string; a number above 0 is accepted"),
        (
            "servers:\n  a:\n    command: x\n    tasks:\n      overrides:\n        crawl: {mode: must}",
            'trunkline.yaml:6: server "a": tasks.overrides.crawl.mode: is not one of the words there are',
        ),
        ("servers: {a: {command: x, tasks: {overrides: {b: 1}}}}", "tasks.overrides.b: is a number; true or false"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line_and_what_is_accepted(tmp_path: Path, text: str, said: str) -> None:
    (fault,) = faults(tmp_path, text)

    assert said in fault
    assert fault.startswith("trunkline.yaml:1") or "\n" in text
    assert "hunter2" not in fault


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    found = faults(tmp_path, "listen: {prot: 1, host: ''}\nservers:\n  a: {cmmand: x}\n  b: {disabled: 3}\ntoken: []")

    assert len(found) == 5
    with pytest.raises(ConfigError) as caught:
        read_gateway(str(tmp_path / "trunkline.yaml"))
    assert all(fault in caught.value.message for fault in found)


def test_tasks_of_a_clients_file_are_held_to_the_same_rules(tmp_path: Path) -> None:
    """In a file that many clients read they stand under our own member; a mistake there breaks its server alone."""
    servers = {
        "good": {"command": "x", "trunkline": {"tasks": {"attempts": 5, "overrides": {"pay": False}}}},
        "plain": {"command": "x", "trunkline": {"tasks": True}},
        "bad": {"command": "x", "trunkline": {"tasks": {"attempts": "many", "ttll": 1}}},
    }
    path = tmp_path / "mcp.json"
    path.write_text(json.dumps({"mcpServers": servers}, indent=1))

    plan = read_gateway(str(path)).plan

    assert plan.tasks.keys() == {"good", "plain"}
    crawl, pay = plan.tasks["good"].policy("crawl"), plan.tasks["good"].policy("pay")
    assert crawl is not None and crawl.retry.attempts == 5 and pay is None
    (problem,) = plan.problems
    line = path.read_text().splitlines().index('     "attempts": "many",') + 1
    attempts, ttl = problem.message.splitlines()
    said = "trunkline.tasks.attempts: is a string; a whole number from 1 to 1000 is accepted"
    assert attempts.endswith(f'mcp.json:{line}: server "bad": {said}')
    assert "did you mean `ttl`?" in ttl


def test_a_servers_tasks_follow_from_what_is_said_of_all_and_of_one(tmp_path: Path) -> None:
    text = """
servers:
  a:
    command: x
    tasks:
      tools: [crawl_*, pay]
      ttl: 60
      idempotent: true
      overrides:
        pay: {idempotent: false, attempts: 1}
        crawl_slow*: {after: 9}
        crawl_never: false
        extra: true
"""
    tasks = read_gateway(write(tmp_path, text)).plan.tasks["a"]
    policies = {name: tasks.policy(name) for name in ("crawl_a", "crawl_slowly", "crawl_never", "pay", "extra", "x")}

    assert [name for name, policy in policies.items() if policy is None] == ["crawl_never", "x"]
    crawl, slow, pay = policies["crawl_a"], policies["crawl_slowly"], policies["pay"]
    assert crawl is not None and slow is not None and pay is not None
    assert (crawl.trigger, crawl.retry.attempts, crawl.ttl, crawl.retry.on) == ("at_once", 3, 60, ("lost",))
    assert (slow.trigger, slow.after, pay.retry.attempts, pay.retry.on) == ("after", 9, 1, ())
    assert [tasks.idempotent_tool(name, declared=False) for name in ("crawl_a", "pay")] == [True, False]
    assert not tasks.idempotent_tool("pay", declared=True)


def test_two_files_may_not_name_one_server(tmp_path: Path) -> None:
    (tmp_path / "mcp.json").write_text(json.dumps({"mcpServers": {"a": {"command": "x"}}}))

    (fault,) = faults(tmp_path, "include: [mcp.json]\nservers: {a: {command: y}}")

    assert 'server "a": is also a server of' in fault
    assert "mcp.json" in fault


@pytest.mark.parametrize(
    "written", ["${env:NOT_SET_HERE}", "${file:gone}", "${keyring:trunkline-test/nobody}", "${what}"]
)
def test_a_reference_that_leads_nowhere_breaks_its_server_alone(tmp_path: Path, written: str) -> None:
    text = f"servers: {{good: {{command: x}}, bad: {{command: x, env: {{A: '{written}'}}}}}}"
    gateway = read_gateway(write(tmp_path, text), environment={})

    assert [entry.name for entry in gateway.plan.entries] == ["good"]
    (problem,) = gateway.problems
    assert problem.server == "bad"
    assert "env.A: " in problem.message


def test_the_keyring_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keyring = pytest.importorskip("keyring", reason="needs trunkline[keyring]")

    class Ring(keyring.backend.KeyringBackend):  # type: ignore[misc]
        priority = 1

        def get_password(self, service: str, username: str) -> str | None:
            return "value-of-the-ring" if (service, username) == ("mcp/docs", "key") else None

        def set_password(self, service: str, username: str, password: str) -> None:
            raise NotImplementedError

    before = keyring.get_keyring()
    keyring.set_keyring(Ring())
    try:
        text = "servers: {a: {command: x, env: {A: '${keyring:mcp/docs/key}'}}}"
        (entry,) = read_gateway(write(tmp_path, text), environment={}).plan.entries
    finally:
        keyring.set_keyring(before)

    assert entry.env == {"A": "value-of-the-ring"}
    assert entry.secret_values == {"value-of-the-ring"}


KEY = base64.b64encode(b"k" * 32).decode()
RING = json.dumps({"keys": [{"from": "2026-01-01T00:00:00Z", "key": KEY}]})


def test_no_secret_is_in_any_repr(tmp_path: Path) -> None:
    text = (
        "servers: {a: {command: x, env: {A: '${env:A}'}}}\n"
        "tokens: [{name: ci, secret: '${env:A}'}]\n"
        "storage: {url: 'postgresql://a:${env:A}@db/x'}\n"
        "keys: ring\n"
    )
    (tmp_path / "ring").write_text(RING)
    gateway = read_gateway(write(tmp_path, text), environment={"A": "hunter2-hunter2"})

    assert gateway.sharing.storage == "postgresql://a:hunter2-hunter2@db/x"
    assert "hunter2" not in repr(gateway.plan) + repr(gateway.sharing)
    assert "hunter2" not in repr(show(str(tmp_path / "trunkline.yaml")))


def test_a_database_of_many_machines_needs_keys_that_are(tmp_path: Path) -> None:
    path = write(tmp_path, "servers: {a: {command: x}}\nstorage: {url: 'postgresql://a@db/x'}")
    with pytest.raises(ConfigError, match="trunkline keys new"):
        read_gateway(path, environment={})


@pytest.mark.parametrize(
    ("text", "given", "storage", "keys"),
    [
        ("", Sharing(), None, None),
        ("storage: memory", Sharing(), "memory", None),
        ("storage: {url: '${env:URL}'}\nkeys: ring", Sharing(), "sqlite:///of.env", "ring"),
        ("storage: {url: '${env:URL}'}\nkeys: other", Sharing("memory", "{folder}/ring"), "memory", "ring"),
    ],
)
def test_what_is_shared_is_said_by_the_file_and_the_command_line_goes_first(
    tmp_path: Path, text: str, given: Sharing, storage: str | None, keys: str | None
) -> None:
    (tmp_path / "ring").write_text(RING)
    if given.keys is not None:
        given = Sharing(given.storage, given.keys.format(folder=tmp_path))
    path = write(tmp_path, f"servers: {{a: {{command: x}}}}\n{text}")

    gateway = read_gateway(path, environment={"URL": "sqlite:///of.env"}, sharing=given)

    assert gateway.sharing == Sharing(storage, None if keys is None else str(tmp_path / keys))
    if keys is not None:
        keyring = Keys([b"k" * 32])
        assert gateway.application.engine.keys.open("p", b"", keyring.seal("p", b"", b"x")) == b"x"


@pytest.mark.parametrize("held", [None, b"", b"\xff", b'{"keys": []}', b'{"keys": ["c2VjcmV0"]}', SHORT])
def test_a_key_file_that_is_none_is_refused_without_quoting_it(tmp_path: Path, held: bytes | None) -> None:
    if held is not None:
        (tmp_path / "ring").write_bytes(held)
    path = write(tmp_path, "servers: {a: {command: x}}\nkeys: ring")

    with pytest.raises(ConfigError) as caught:
        read_gateway(path)

    assert check(path, {}) == [caught.value.message]
    assert "key" in caught.value.message and "c2VjcmV0" not in caught.value.message


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = ["command", "args", "env", "url", "headers", "disabled", "allow", "request_timeout", "transport", "deny", "cwd"]
KEYS += ["file", "base_url", "auth", "variables", "operations"]
API = st.fixed_dictionaries(
    {"transport": st.just("openapi"), "type": st.just("openapi"), "file": st.just("api.json")},
    optional=dict.fromkeys(KEYS[-4:], VALUES),
)
SERVER = API | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), VALUES, max_size=5)
TOKEN = st.dictionaries(st.sampled_from(["name", "sha256", "secret", "tools"]), VALUES, max_size=4)
LISTEN = st.dictionaries(st.sampled_from(list(Listen.__struct_fields__)), VALUES, max_size=4)
WHOLE = st.fixed_dictionaries(
    {},
    optional={
        "servers": st.dictionaries(st.text(max_size=4), SERVER | VALUES, max_size=3),
        "include": VALUES,
        "listen": LISTEN | VALUES,
        "storage": st.dictionaries(st.sampled_from(["url", "uri"]), VALUES, max_size=2) | VALUES,
        "keys": VALUES,
        "tokens": st.lists(TOKEN | VALUES, max_size=2),
        "extra": VALUES,
    },
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(WHOLE | VALUES)
def test_no_content_raises_anything_but_a_configuration_error(tmp_path: Path, value: object) -> None:
    path = write(tmp_path, json.dumps(value))
    try:
        gateway = read_gateway(path, environment=dict(os.environ))
    except ConfigError as error:
        assert error.message
    else:
        assert isinstance(value, dict)
        assert gateway.plan.entries or gateway.problems


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    WHOLE | st.dictionaries(st.sampled_from(["mcpServers", "servers", "inputs"]), st.dictionaries(st.text(), SERVER))
)
def test_any_file_can_be_checked_and_what_is_sound_can_be_shown(tmp_path: Path, value: object) -> None:
    for name in ("trunkline.yaml", "mcp.json"):
        (tmp_path / name).write_text(json.dumps(value))
        problems = check(str(tmp_path / name), {})
        try:
            rows = show(str(tmp_path / name))
        except ConfigError as error:
            assert set(error.message.splitlines()) <= set(problems)
        else:
            assert all(row.key and row.value and row.origin for row in rows)
