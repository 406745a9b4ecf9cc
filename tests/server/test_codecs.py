"""Schemas and decoders agree, and what was encoded can be decoded, for any type an author may write."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Annotated, Literal, NotRequired

import annotated_types
import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, conint
from typing_extensions import TypedDict

from trunkline import ConfigError
from trunkline.server.codec import ArgumentsCodec, InvalidArguments, arguments_codec, result_codec
from trunkline.server.signature import read_signature

Size = Literal["small", "large"]


@dataclasses.dataclass
class Item:
    name: str
    count: int = 1


class Options(TypedDict):
    size: Size
    note: NotRequired[str]


class Box(msgspec.Struct):
    items: list[Item]
    weight: float | None = None


class Model(BaseModel):
    name: str
    count: int = 1
    nested: "Model | None" = None


def plain(
    flag: bool,
    number: Annotated[int, msgspec.Meta(ge=0, le=10)],
    item: Item,
    options: Options | None = None,
    boxes: list[Box] = [],  # noqa: B006
    anything: object = None,
    table: dict[str, int] | None = None,
) -> None: ...


def modelled(
    flag: bool,
    number: Annotated[int, Field(ge=0, le=10)],
    item: Model,
    options: Options | None = None,
    boxes: list[Item] = [],  # noqa: B006
    anything: object = None,
    table: dict[str, int] | None = None,
) -> None: ...


def codec_of(function: object) -> ArgumentsCodec:
    signature = read_signature(function)  # type: ignore[arg-type]
    return arguments_codec("tool 'x'", signature.parameters, signature.rest)


CODECS = {"msgspec": codec_of(plain), "pydantic": codec_of(modelled)}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-20, 20) | st.text("ab", max_size=3) | st.sampled_from(["small", "large"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    max_leaves=6,
)
ITEM = st.fixed_dictionaries({"name": st.text(max_size=3)}, optional={"count": st.integers(0, 9)})
GOOD = st.fixed_dictionaries(
    {"flag": st.booleans(), "number": st.integers(0, 10), "item": ITEM},
    optional={
        "options": st.none() | st.fixed_dictionaries({"size": st.sampled_from(["small", "large"])}),
        "anything": JSON,
        "table": st.none() | st.dictionaries(st.text(max_size=2), st.integers(-5, 5), max_size=2),
    },
)
ANY = st.fixed_dictionaries(
    {},
    optional={
        "flag": JSON,
        "number": JSON,
        "item": JSON | ITEM,
        "options": JSON,
        "boxes": JSON,
        "anything": JSON,
        "table": JSON,
        "unknown": JSON,
    },
)


def accepts(codec: ArgumentsCodec, arguments: Mapping[str, object]) -> bool:
    try:
        codec.decode(json.dumps(arguments).encode())
    except InvalidArguments as error:
        assert all(error.reasons)
        return False
    return True


@pytest.mark.parametrize("kind", CODECS)
def test_the_schema_is_one(kind: str) -> None:
    jsonschema.Draft202012Validator.check_schema(CODECS[kind].schema)
    assert CODECS[kind].schema["type"] == "object"
    assert CODECS[kind].schema["required"] == ["flag", "number", "item"]


@pytest.mark.parametrize("kind", CODECS)
@given(arguments=st.one_of(GOOD, ANY, st.builds(lambda good, any: {**good, **any}, GOOD, ANY)))
def test_the_schema_admits_what_the_decoder_admits(kind: str, arguments: dict[str, object]) -> None:
    validator = jsonschema.Draft202012Validator(CODECS[kind].schema)

    assert validator.is_valid(arguments) == accepts(CODECS[kind], arguments)


@pytest.mark.parametrize("kind", CODECS)
@given(arguments=GOOD)
def test_defaults_fill_what_was_left_out(kind: str, arguments: dict[str, object]) -> None:
    decoded = CODECS[kind].decode(json.dumps(arguments).encode())

    assert decoded["number"] == arguments["number"]
    if kind == "msgspec":
        assert set(decoded) == {"flag", "number", "item", "options", "boxes", "anything", "table"}


@given(st.binary(max_size=40))
@pytest.mark.parametrize("kind", CODECS)
def test_any_bytes_are_answered(kind: str, raw: bytes) -> None:
    try:
        CODECS[kind].decode(raw)
    except InvalidArguments:
        return


RESULTS: list[tuple[object, st.SearchStrategy[object]]] = [
    (Item, st.builds(Item, st.text(max_size=5), st.integers(-99, 99))),
    (list[Item], st.lists(st.builds(Item, st.text(max_size=5)), max_size=3)),
    (Box, st.builds(Box, st.just([]), st.none() | st.floats(allow_nan=False, allow_infinity=False))),
    (dict[str, float], st.dictionaries(st.text(max_size=3), st.floats(allow_nan=False, allow_infinity=False))),
    (Model, st.builds(Model, name=st.text(max_size=5), count=st.integers(-9, 9), nested=st.none())),
    (tuple[int, str], st.tuples(st.integers(-9, 9), st.text(max_size=3))),
    (set[int], st.sets(st.integers(-9, 9), max_size=4)),
]


@pytest.mark.parametrize(("annotation", "values"), RESULTS, ids=[str(annotation) for annotation, _ in RESULTS])
@given(data=st.data())
def test_what_is_encoded_satisfies_its_schema_and_comes_back(
    annotation: object, values: st.SearchStrategy[object], data: st.DataObject
) -> None:
    codec = result_codec("tool 'x'", annotation)
    value = data.draw(values)

    encoded = codec.encode(value)

    jsonschema.Draft202012Validator(codec.schema).validate(json.loads(encoded))
    if annotation is Model:
        assert Model.model_validate_json(encoded) == value
    else:
        assert msgspec.json.decode(encoded, type=annotation) == value  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, "1"),
        (float, float("nan")),
        (Item, {"name": 3}),
        (list[int], [1, "2"]),
        (Model, {"count": 2}),
        (int, object()),
    ],
)
def test_a_value_of_another_shape_is_refused(annotation: object, value: object) -> None:
    with pytest.raises(InvalidArguments):
        result_codec("tool 'x'", annotation).encode(value)


def test_texts_become_what_the_parameters_say() -> None:
    def take(number: int, flag: bool = False, size: Size = "small", day: float = 0) -> None: ...

    def take_model(number: Annotated[int, Field(ge=0)], flag: bool = False, size: Size = "small") -> None: ...

    texts = {"number": "3", "flag": "true", "size": "large"}
    for function in (take, take_model):
        decoded = codec_of(function).decode_strings(texts)
        assert (decoded["number"], decoded["flag"], decoded["size"]) == (3, True, "large")
        with pytest.raises(InvalidArguments):
            codec_of(function).decode_strings({"number": "three"})


def test_a_type_nobody_knows_is_refused_when_it_is_registered() -> None:
    class Opaque:
        pass

    def take(first: Item | Box) -> None: ...

    with pytest.raises(ConfigError, match="tool 'x'"):
        codec_of(take)
    with pytest.raises(ConfigError, match="tool 'x'"):
        result_codec("tool 'x'", Item | Box)


def test_constraints_of_pydantics_kind_are_never_dropped() -> None:
    @dataclasses.dataclass
    class Inner:
        count: Annotated[int, annotated_types.Ge(1)]

    def direct(count: conint(ge=1)) -> None: ...  # type: ignore[valid-type]

    def nested(inner: Inner) -> None: ...

    for function, arguments in ((direct, b'{"count":0}'), (nested, b'{"inner":{"count":0}}')):
        with pytest.raises(InvalidArguments, match="greater than or equal to 1"):
            codec_of(function).decode(arguments)
