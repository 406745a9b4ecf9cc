"""The generated wire types against the official JSON Schemas and the specification's own examples."""

import json
import random
import subprocess
import sys

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protocol.official import (
    REVISIONS,
    ROOT,
    Maker,
    broken,
    definitions,
    key,
    rooted,
    validator,
)
from trunkline.errors import InvalidRequest, ParseError, UnsupportedVersion
from trunkline.protocol import wire

revisions = pytest.mark.parametrize("revision", REVISIONS)


META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


def decoded(revision: str, name: str, value: object) -> object:
    """What comes back of a value that was decoded and encoded; the class `InvalidRequest` when it was refused."""
    try:
        return json.loads(wire.encode(wire.decode(revision, name, json.dumps(value).encode())))
    except InvalidRequest:
        return InvalidRequest


def instances(revision: str, name: str, count: int):
    """The smallest, the fullest and some random instances."""
    choose = random.Random(f"{revision} {name}")
    for share in (0.0, 1.0, *(choose.random() for _ in range(count))):
        yield Maker(revision, choose, share).make(name), choose


@revisions
def test_every_definition_of_the_schema_has_a_type(revision):
    module = wire.module(revision)
    assert revision == module.REVISION
    assert [name for name in definitions(revision) if not hasattr(module, name)] == []


@revisions
def test_instances_of_every_definition_survive_the_round_trip(revision):
    for name in definitions(revision):
        check = validator(revision, name)
        for value, _ in instances(revision, name, 8):
            assert check.is_valid(value), (name, value)
            assert decoded(revision, name, value) == value, name


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_instance_of_any_definition_survives_the_round_trip(data):
    revision = data.draw(st.sampled_from(REVISIONS))
    name = data.draw(st.sampled_from(sorted(definitions(revision))))
    value = Maker(revision, data.draw(st.randoms()), data.draw(st.floats(0, 1))).make(name)
    assert validator(revision, name).is_valid(value)
    assert decoded(revision, name, value) == value


@revisions
def test_what_a_definition_refuses_its_type_refuses(revision):
    refused = 0
    for name in definitions(revision):
        check = validator(revision, name, amend=True)
        for value, choose in instances(revision, name, 6):
            for wrong in (broken(value, choose) for _ in range(6)):
                accepted = check.is_valid(wrong)
                refused += not accepted
                assert (decoded(revision, name, wrong) is not InvalidRequest) == accepted, (name, wrong)
    assert refused > 1000


@revisions
def test_each_required_member_is_required(revision):
    for name, body in definitions(revision).items():
        value = Maker(revision, random.Random(name), 1.0).make(name)
        for member in body.get("required", ()):
            without = {k: v for k, v in value.items() if k != member}
            assert decoded(revision, name, without) is InvalidRequest, (name, member)


@revisions
def test_unknown_members_are_no_error(revision):
    for name, body in definitions(revision).items():
        if body.get("properties"):
            value = Maker(revision, random.Random(name), 1.0).make(name)
            back = decoded(revision, name, {**value, "x-new": {"a": [1]}})
            assert back in (value, {**value, "x-new": {"a": [1]}}), name


def examples(revision: str):
    """The specification's examples that are JSON, and their params, results and errors."""
    for example in json.loads((ROOT / f"tests/data/spec-examples/{revision}.json").read_text(encoding="utf-8")):
        try:
            value = json.loads(example["text"])
        except ValueError:
            continue  # with comments or an ellipsis
        for part in value if isinstance(value, list) else [value]:
            yield example["page"], part


def part_of(some: object, whole: object) -> bool:
    """Whether a value says nothing that the whole does not say."""
    if isinstance(some, dict) and isinstance(whole, dict):
        return all(name in whole and part_of(inner, whole[name]) for name, inner in some.items())
    if isinstance(some, list) and isinstance(whole, list):
        return len(some) == len(whole) and all(map(part_of, some, whole))
    return some == whole


@revisions
def test_examples_of_the_specification_fit_the_same_definitions(revision):
    fits = 0
    for page, example in examples(revision):
        inner = [example.get(member) for member in ("params", "result", "error")] if isinstance(example, dict) else []
        for value in [example, *filter(None, inner)]:
            for name in definitions(revision):
                accepted = validator(revision, name, amend=True).is_valid(value)
                back = decoded(revision, name, value)
                assert (back is not InvalidRequest) == accepted, (page, name, value)
                if accepted:
                    fits += 1
                    assert part_of(back, value), (page, name, value)
                    assert validator(revision, name, amend=True).is_valid(back), (page, name, back)
    assert fits > 500


@revisions
def test_messages_among_the_examples_decode_to_the_type_of_their_method(revision):
    messages = 0
    for page, example in examples(revision):
        if not isinstance(example, dict) or "jsonrpc" not in example:
            continue
        messages += 1
        if revision == "2026-07-28" and {"id", "method"} <= example.keys():
            # The pages leave the required members of `_meta` out for brevity.
            params = example.setdefault("params", {})
            params["_meta"] = {**META, **params.get("_meta", {})}
        message = wire.decode_message(revision, json.dumps(example).encode())
        assert part_of(json.loads(wire.encode(message)), example)
        assert validator(revision, "JSONRPCMessage").is_valid(json.loads(wire.encode(message))), (page, example)
        assert validator(revision, type(message).__name__).is_valid(example), (page, example)
    assert messages > 30


@revisions
def test_the_two_validators_agree_on_the_schemas(revision):
    draft = jsonschema.Draft202012Validator if key(revision) == "$defs" else jsonschema.Draft7Validator
    for name in definitions(revision):
        choose = random.Random(name)
        value = Maker(revision, choose, 0.4).make(name)
        slow = draft(rooted(revision, name))
        for one in (value, broken(value, choose)):
            assert slow.is_valid(one) == validator(revision, name).is_valid(one), (name, one)


def test_methods_lead_to_messages_and_results():
    for revision in REVISIONS:
        types = wire.module(revision)
        for table in (types.CLIENT_REQUESTS, types.SERVER_REQUESTS, types.INPUT_REQUESTS):
            assert [method for method in table if method not in types.RESULTS] == []
        for table in (types.CLIENT_REQUESTS, types.CLIENT_NOTIFICATIONS, types.SERVER_NOTIFICATIONS):
            assert table
            for method, message in table.items():
                assert message.method == method
    assert wire.module("2026-07-28").SERVER_REQUESTS == {}
    assert set(wire.module("2026-07-28").INPUT_REQUESTS) == {
        "elicitation/create",
        "roots/list",
        "sampling/createMessage",
    }


def test_a_message_carries_its_id_in_every_revision():
    for revision in REVISIONS[:-1]:
        message = wire.decode_message(revision, b'{"jsonrpc":"2.0","id":"7","method":"ping"}')
        assert type(message) is wire.module(revision).CLIENT_REQUESTS["ping"]
        assert json.loads(wire.encode(message)) == {"jsonrpc": "2.0", "id": "7", "method": "ping"}


def test_methods_of_extensions_keep_their_parameters():
    raw = {"jsonrpc": "2.0", "id": 1, "method": "x/y", "params": {"deep": {"er": [1]}}}
    for revision in REVISIONS:
        assert json.loads(wire.encode(wire.decode_message(revision, json.dumps(raw).encode()))) == raw


def test_a_result_is_the_one_its_fields_tell():
    call = b'{"resultType":"complete","content":[{"type":"text","text":"hi"}]}'
    asks = b'{"resultType":"input_required","requestState":"s"}'
    assert type(wire.decode_result("2026-07-28", "tools/call", call)).__name__ == "CallToolResult"
    assert type(wire.decode_result("2026-07-28", "tools/call", asks)).__name__ == "InputRequiredResult"
    with pytest.raises(InvalidRequest, match="no request"):
        wire.decode_result("2026-07-28", "ping", b"{}")


def test_batches_exist_in_one_revision():
    batch = b'[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","method":"notifications/initialized"}]'
    kinds = [type(one).__name__ for one in wire.decode_message("2025-03-26", batch)]
    assert kinds == ["PingRequest", "InitializedNotification"]
    with pytest.raises(InvalidRequest, match="no batches"):
        wire.decode_message("2025-06-18", batch)


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"{", ParseError),
        (b"\xff", ParseError),
        (b"{}", InvalidRequest),
        (b'{"jsonrpc":"1.0","id":1,"method":"tools/list"}', InvalidRequest),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"tools/list"}', InvalidRequest),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":1}}', InvalidRequest),
        (b'{"jsonrpc":"2.0","id":1}', InvalidRequest),
    ],
)
def test_what_is_no_message_is_refused(raw, error):
    for revision in REVISIONS:
        with pytest.raises(error):
            wire.decode_message(revision, raw)


def test_an_unknown_revision_is_named():
    with pytest.raises(UnsupportedVersion, match="2020-01-01"):
        wire.module("2020-01-01")


def test_the_generated_modules_are_imported_on_use_only():
    code = (
        "import sys, trunkline.protocol.wire; print([m for m in sys.modules if m.startswith('trunkline.protocol.v')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_generated_modules_are_what_the_schemas_say():
    subprocess.run([sys.executable, "tools/generate_wire.py", "--check"], cwd=ROOT, check=True)
