"""What a caller sees of functions that became resources."""

import pytest

from tests.server.conftest import request
from trunkline import Annotations, ConfigError, Contents, InvalidParams, ResourceNotFound, Server, ToolError
from trunkline.errors import InternalError, MethodNotFound


async def read(server: Server, uri: str) -> list[dict[str, object]]:
    return (await request(server, "resources/read", {"uri": uri}))["contents"]  # type: ignore[return-value]


async def test_static_resources_are_listed_and_read(server: Server) -> None:
    @server.resource(
        "notes://today",
        title="Today",
        mime_type="text/markdown",
        annotations=Annotations(audience=["user"], priority=0.5),
        ttl_ms=60_000,
        cache_scope="public",
    )
    def today() -> str:
        """Notes of today."""
        return "# Today"

    listed = (await request(server, "resources/list"))["resources"]
    result = await request(server, "resources/read", {"uri": "notes://today"})

    assert listed == [
        {
            "uri": "notes://today",
            "name": "today",
            "title": "Today",
            "description": "Notes of today.",
            "mimeType": "text/markdown",
            "annotations": {"audience": ["user"], "priority": 0.5},
        }
    ]
    assert result["contents"] == [{"uri": "notes://today", "mimeType": "text/markdown", "text": "# Today"}]
    assert (result["ttlMs"], result["cacheScope"]) == (60_000, "public")


@pytest.mark.parametrize(
    ("value", "contents"),
    [
        ("text", {"uri": "x://y", "mimeType": "text/plain", "text": "text"}),
        (b"\0\1", {"uri": "x://y", "mimeType": "application/octet-stream", "blob": "AAE="}),
        ({"a": 1}, {"uri": "x://y", "mimeType": "application/json", "text": '{"a":1}'}),
        (Contents("<p>", "text/html", uri="x://z"), {"uri": "x://z", "mimeType": "text/html", "text": "<p>"}),
    ],
)
async def test_what_a_function_returns_becomes_contents(server: Server, value: object, contents: object) -> None:
    @server.resource("x://y")
    async def give() -> object:
        return value

    assert await read(server, "x://y") == [contents]


async def test_a_template_gives_its_variables_typed(server: Server) -> None:
    @server.resource("users://{id}/posts{?limit}")
    async def posts(id: int, limit: int = 10) -> list[int]:
        return [id, limit]

    templates = (await request(server, "resources/templates/list"))["resourceTemplates"]

    assert templates == [{"uriTemplate": "users://{id}/posts{?limit}", "name": "posts"}]
    assert (await request(server, "resources/list"))["resources"] == []
    assert (await read(server, "users://7/posts"))[0]["text"] == "[7,10]"
    assert (await read(server, "users://7/posts?limit=2"))[0]["text"] == "[7,2]"
    with pytest.raises(ResourceNotFound):
        await read(server, "users://seven/posts")


async def test_a_resource_stands_before_a_template_and_templates_in_their_order(server: Server) -> None:
    @server.resource("x://{name}")
    def first(name: str) -> str:
        return f"first {name}"

    @server.resource("x://{+name}")
    def second(name: str) -> str:
        return f"second {name}"

    @server.resource("x://me")
    def third() -> str:
        return "third"

    texts = [(await read(server, uri))[0]["text"] for uri in ("x://me", "x://you", "x://you/too")]
    assert texts == ["third", "first you", "second you/too"]


async def test_an_unknown_resource_names_its_uri(server: Server) -> None:
    server.resource("x://y")(lambda: "y")

    with pytest.raises(InvalidParams) as raised:
        await read(server, "x://z")
    assert raised.value.data == {"uri": "x://z"}


async def test_a_failure_the_author_explains_is_told(server: Server) -> None:
    @server.resource("x://y")
    def give() -> str:
        raise ToolError("The disk is away")

    with pytest.raises(InternalError, match="The disk is away"):
        await read(server, "x://y")


async def test_only_resources_that_exist_can_be_followed(server: Server) -> None:
    server.resource("x://{name}", name="x")(lambda name: name)

    await server.provider.follow(None, ["x://1"])  # type: ignore[arg-type]
    with pytest.raises(InvalidParams):
        await server.provider.follow(None, ["x://1/2"])  # type: ignore[arg-type]


async def test_a_kind_never_registered_is_not_served(server: Server) -> None:
    for method, params in (
        ("resources/list", {}),
        ("resources/templates/list", {}),
        ("resources/read", {"uri": "x://y"}),
        ("tools/list", {}),
        ("tools/call", {"name": "x"}),
        ("prompts/list", {}),
        ("prompts/get", {"name": "x"}),
        ("completion/complete", {}),
    ):
        with pytest.raises(MethodNotFound):
            await request(server, method, params)
    assert server.provider.capabilities() == {"logging": {}}


def test_variables_and_parameters_must_agree(server: Server) -> None:
    def nothing() -> str:
        return ""

    def more(name: str, other: str) -> str:
        return name

    for uri, function in (("x://{name}", nothing), ("x://{name}", more), ("x://y{?name,other}", more), ("x", nothing)):
        with pytest.raises(ConfigError):
            server.resource(uri)(function)
