"""The lock file: always the same for the same pins, and what is said of one that cannot be read."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.assembly.gateway import read_gateway
from trunkline.assembly.lockfile import lock_path, lock_text, parse_lock, read_lock, write_lock
from trunkline.assembly.pinning import Difference, difference
from trunkline.assembly.showing import check
from trunkline.errors import ConfigError
from trunkline.gateway.pins import Pinning, ServerPins, digest, pins_of
from trunkline.portable.model import PinMode

DIGEST = digest("a")
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
PARTS = st.dictionaries(st.sampled_from(["description", "inputSchema", "_meta"]), st.just(DIGEST))
PINS = st.dictionaries(
    NAMES, st.builds(ServerPins, st.none() | st.just(DIGEST), st.dictionaries(NAMES, PARTS)), max_size=3
)


@pytest.fixture
def configuration(tmp_path: Path) -> str:
    path = tmp_path / "trunkline.yaml"
    path.write_text("pins: strict\nservers: {a: {command: x}}\n")
    return str(path)


@given(PINS)
def test_what_is_written_is_read_again(pins: dict[str, ServerPins]) -> None:
    text = lock_text(pins, "trunkline.yaml")

    assert parse_lock(text, "trunkline.yaml") == pins
    assert text.isascii()
    turned = {
        name: ServerPins(
            one.instructions, {tool: dict(reversed(parts.items())) for tool, parts in reversed(one.tools.items())}
        )
        for name, one in reversed(pins.items())
    }
    assert lock_text(turned, "trunkline.yaml") == text


def test_a_change_of_a_definition_is_a_change_of_one_line() -> None:
    def text(description: str) -> list[str]:
        tool = {"name": "add", "description": description, "inputSchema": {"type": "object"}}
        return lock_text({"time": pins_of("Hello.", [tool])}, "mcp.json").splitlines()

    before, after = text("adds"), text("reads your mail")
    (line,) = [one for one, other in zip(before, after, strict=True) if one != other]
    assert line.strip() == f'"description": "{digest("adds")}",'


def test_no_text_of_a_server_is_in_it() -> None:
    secret = "token-hunter2"
    tool = {
        "name": "add",
        "description": secret,
        "inputSchema": {"default": secret},
        "_meta": {secret: 1},
        secret: secret,
    }

    assert "hunter2" not in lock_text({"time": pins_of(secret, [tool])}, "mcp.json")


def test_it_lies_beside_its_configuration() -> None:
    assert lock_path("team/trunkline.yaml") == Path("team/trunkline.lock")
    assert lock_path(".cursor/mcp.json") == Path(".cursor/mcp.lock")


def test_it_is_replaced_in_one_step_where_a_link_leads(tmp_path: Path) -> None:
    configuration = str(tmp_path / "mcp.json")
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "pins").write_text("old")
    (tmp_path / "real" / "pins").chmod(0o640)
    (tmp_path / "mcp.lock").symlink_to(tmp_path / "real" / "pins")

    write_lock({"a": ServerPins()}, configuration)

    assert (tmp_path / "mcp.lock").is_symlink()
    assert (tmp_path / "real" / "pins").stat().st_mode & 0o777 == 0o640
    assert read_lock(configuration) == {"a": ServerPins()}
    assert os.listdir(tmp_path / "real") == ["pins"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ":1"),
        ("<<<<<<< HEAD\n{}", ":1"),
        ('{"version": 1, "version": 1}', "twice"),
        ("[]", "a list; a mapping is accepted"),
        ("{}", "has no `version`"),
        ('{"version": 2, "new": true}', "is 2, and this trunkline reads 1"),
        ('{"version": 1,\n "servers": {"a": {"tool": {}}}}', ':2: server "a": the key "tool" is not known'),
        ('{"version": 1,\n "servers": {\n"a": {"tools": {"t": {"description": "sha256:12"}}}}}', ":3"),
        ('{"version": 1, "servers": {"a": {"tools": {"t": null}}}}', "tools"),
    ],
)
def test_a_bad_one_is_a_mistake_that_says_where_and_what_to_do(configuration: str, text: str, said: str) -> None:
    lock_path(configuration).write_text(text)

    with pytest.raises(ConfigError) as failure:
        read_gateway(configuration, environment={})
    assert str(lock_path(configuration)) in failure.value.message
    assert said in failure.value.message
    assert check(configuration, {}) == failure.value.message.splitlines()


def test_what_is_held_to_pins_needs_them(configuration: str) -> None:
    with pytest.raises(
        ConfigError, match=r"trunkline\.lock: there is no such file.*run `trunkline pin .*trunkline\.yaml`"
    ):
        read_gateway(configuration, environment={})
    assert "there is no such file" in "".join(check(configuration, {}))


@pytest.mark.parametrize(
    ("own", "given_", "mode"),
    [
        ("", None, "changed"),
        ("", "strict", "strict"),
        ("", "off", "off"),
        ("pins: strict", None, "strict"),
        ("pins: off", "strict", "off"),
        ("pins: strict", "off", "strict"),
    ],
)
def test_what_a_server_says_for_itself_goes_before_all(
    tmp_path: Path, own: str, given_: PinMode | None, mode: str
) -> None:
    path = tmp_path / "trunkline.yaml"
    path.write_text(f"pins: changed\nservers:\n  a:\n    command: x\n    {own}\n  b: {{command: x}}\n")
    write_lock({"a": ServerPins(DIGEST)}, str(path))

    plan = read_gateway(str(path), environment={}, pins=given_).plan

    assert plan.pins.get("a", Pinning()).mode == mode
    assert plan.pins.get("b", Pinning()).mode == (given_ or "changed")
    if plan.pins:
        assert (plan.pins["a"].pins, plan.pins["b"].pins) == (ServerPins(DIGEST), None)
        assert lock_path(str(path)) in plan.files


def test_nothing_is_read_where_nothing_is_held_to_pins(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_text(json.dumps({"mcpServers": {"a": {"command": "x"}}}))
    (tmp_path / "mcp.lock").write_text("not a lock file")

    assert read_gateway(str(path), environment={}).plan.pins == {}


def test_differences_are_told_part_by_part() -> None:
    tool = {"name": "a", "description": "adds", "inputSchema": {"type": "object"}}
    before = pins_of("Hello.", [tool, {**tool, "name": "b"}])
    after = pins_of(None, [{**tool, "description": "adds two"}, {**tool, "name": "c"}])

    assert difference(before, after) == Difference(("c",), {"a": ("description",)}, ("b",), "gone")
    assert difference(None, after) == Difference(("a", "c"))
    assert difference(None, before).instructions == "new"
    assert difference(before, pins_of("Hi.", [tool])).instructions == "changed"
    assert not difference(before, before)
