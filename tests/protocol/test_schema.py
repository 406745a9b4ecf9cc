"""x-mcp-header rules and schema bounds."""

import pytest

from trunkline.protocol import schema


def tool(**properties: object) -> dict[str, object]:
    return {"type": "object", "properties": properties}


@pytest.mark.parametrize(
    "definition",
    [
        tool(a={"type": "string", "x-mcp-header": ""}),
        tool(a={"type": "string", "x-mcp-header": {}}),
        tool(a={"type": "string", "x-mcp-header": []}),
        tool(a={"type": "string", "x-mcp-header": None}),
        tool(a={"type": "number", "x-mcp-header": "A"}),
        tool(a={"type": "array", "x-mcp-header": "A"}),
        tool(a={"type": ["string", "null"], "x-mcp-header": "A"}),
        tool(a={"x-mcp-header": "A"}),
        tool(a={"type": "string", "x-mcp-header": "A"}, b={"type": "string", "x-mcp-header": "a"}),
        tool(a={"type": "string", "x-mcp-header": "two words"}),
        tool(a={"type": "string", "x-mcp-header": "a:b"}),
        tool(a={"type": "string", "x-mcp-header": "caf\u00e9"}),
        tool(a={"type": "string", "x-mcp-header": "a\r\nb"}),
        tool(a={"type": "array", "items": {"type": "string", "x-mcp-header": "A"}}),
        {"type": "object", "oneOf": [tool(a={"type": "string", "x-mcp-header": "A"})]},
        {"type": "object", "$defs": {"x": {"type": "string", "x-mcp-header": "A"}}},
        {"type": "object", "if": tool(a={"type": "string", "x-mcp-header": "A"})},
    ],
)
def test_annotations_the_specification_forbids_invalidate_the_tool(definition: object) -> None:
    with pytest.raises(ValueError, match=r"header|share"):
        schema.header_params(definition)


def test_nested_properties_may_be_annotated() -> None:
    (param,) = schema.header_params(
        tool(a={"type": "object", "properties": {"b": {"type": "string", "x-mcp-header": "B"}}})
    )

    assert (param.name, param.path, param.kind, param.key) == ("B", ("a", "b"), "string", b"mcp-param-b")


def test_a_property_may_be_called_like_the_annotation() -> None:
    assert schema.header_params(tool(**{"x-mcp-header": {"type": "string"}})) == ()


def test_a_reference_to_the_network_is_refused_and_never_fetched() -> None:
    with pytest.raises(ValueError, match="nothing is fetched"):
        schema.compile_schema({"$ref": "http://127.0.0.1:9/schema.json"})


def test_a_schema_that_is_an_attack_is_refused() -> None:
    deep: dict[str, object] = {}
    for _ in range(1000):
        deep = {"allOf": [deep]}

    with pytest.raises(ValueError, match="too large or too deep"):
        schema.compile_schema(deep)


def test_violations_name_the_place() -> None:
    validator = schema.compile_schema(tool(city={"type": "string"}))

    (reason,) = schema.violations(validator, {"city": 3})

    assert reason.startswith("city: ")
