"""APIs described by OpenAPI documents behind the gateway, over a real HTTP server."""

import contextlib
import json
import re
from pathlib import Path
from urllib.parse import parse_qsl, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.gateway.callers import Caller, gateway, until
from tests.gateway.test_http import served
from trunkline.errors import ConfigError, InvalidAnswer
from trunkline.gateway import Federation
from trunkline.gateway.openapi import encoding
from trunkline.gateway.openapi.document import Document, parse
from trunkline.gateway.openapi.operations import operations
from trunkline.gateway.openapi.requests import build
from trunkline.portable.interpolate import Answers, resolve
from trunkline.portable.openapi import OpenApi
from trunkline.portable.read import parse_document

PETSTORE = Path(__file__).with_name("petstore.yaml")
SECRET = "very-secret-key"
MODERN = {
    "openapi": "3.1.0",
    "info": {"title": "Things", "version": "2"},
    "security": [{"token": []}],
    "paths": {
        "/echo": {
            "post": {
                "operationId": "form",
                "requestBody": {
                    "content": {
                        "application/x-www-form-urlencoded": {
                            "schema": {"type": "object", "properties": {"a": {"type": ["string", "null"]}}}
                        }
                    }
                },
                "responses": {},
            },
            "put": {
                "operationId": "upload",
                "requestBody": {
                    "required": True,
                    "content": {
                        "multipart/form-data": {
                            "schema": {
                                "type": "object",
                                "properties": {
                                    "note": {"type": "string"},
                                    "file": {"type": "string", "format": "binary"},
                                },
                            }
                        }
                    },
                },
                "responses": {},
            },
            "patch": {
                "operationId": "many",
                "requestBody": {"content": {"application/json": {"schema": {"type": "array"}}}},
                "responses": {},
            },
        },
        "/image": {"get": {"responses": {}}},
        "/bytes": {"get": {"responses": {}}},
        "/text": {"get": {"responses": {}}},
        "/huge": {"get": {"responses": {}}},
        "/away": {"get": {"responses": {}}},
        "/near": {"get": {"responses": {}}},
        "/busy": {"get": {"responses": {}}},
        "/denied": {"get": {"responses": {}}},
        "/lie": {
            "get": {
                "responses": {
                    "200": {
                        "content": {
                            "application/json": {
                                "schema": {"type": "object", "required": ["a"], "properties": {"a": {}}}
                            }
                        }
                    }
                }
            }
        },
    },
    "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
}


class Api:
    """What the API saw, and its answers."""

    def __init__(self):
        self.seen: list[dict] = []
        every = ["GET", "POST", "PUT", "PATCH", "DELETE"]
        self.app = Starlette(routes=[Route("/{path:path}", self.answer, methods=every)])

    async def answer(self, request: Request) -> Response:
        path, body = request.scope["raw_path"].decode(), await request.body()
        if path == "/openapi.json":
            return JSONResponse(MODERN)
        self.seen.append(
            {
                "method": request.method,
                "path": path,
                "query": request.url.query,
                "headers": dict(request.headers),
                "body": body.decode(),
            }
        )
        answers = {
            "/image": Response(b"\x89PNG", media_type="image/png"),
            "/bytes": Response(b"\0\1", media_type="application/zip"),
            "/text": PlainTextResponse("hällo"),
            "/huge": Response(b"x" * 9_000_000, media_type="text/plain"),
            "/away": RedirectResponse("http://127.0.0.2:1/text"),
            "/near": RedirectResponse("/text"),
            "/busy": PlainTextResponse("slow down", 429, {"Retry-After": "7"}),
            "/denied": PlainTextResponse(f"bad key {SECRET}", 401),
            "/lie": JSONResponse({"b": 1}),
        }
        if path in answers:
            return answers[path]
        return JSONResponse({"id": "1", "name": "Rex", **({"weight": 0.1} if request.method == "GET" else {})})


@contextlib.asynccontextmanager
async def calling(entry, api=None):
    """A caller of a gateway over an API: the members of its entry, with {base} for its address."""
    api = api or Api()
    async with served(api.app) as base:
        text = json.dumps({"mcpServers": {"api": {"type": "openapi", **entry}}}).replace("{base}", base)
        (read,) = parse_document(text, "mcp.json").entries
        resolved = resolve(read, {"KEY": SECRET}, Answers(), PETSTORE.parent)
        federation = Federation([resolved])
        async with gateway(federation) as engine:
            await until(lambda: federation.statuses()[0].tools is not None or federation.statuses()[0].error)
            yield Caller(engine), api, federation


PETS = {"file": "petstore.yaml", "baseUrl": "{base}", "auth": {"key": "${env:KEY}", "basic": "ann:${env:KEY}"}}


def listed(document, **options):
    return operations(Document(document, "http://api.example/openapi.json"), OpenApi(**options))


async def test_operations_become_tools_with_their_schemas_and_hints():
    async with calling(PETS) as (caller, _, federation):
        tools = {tool["name"].removeprefix("api__"): tool for tool in (await caller.request("tools/list"))["tools"]}
        status = federation.statuses()[0]

    assert sorted(tools) == ["changePet", "createPet", "getPet", "listPets", "removePet"]
    assert status.revision == "openapi 3.0.3"
    assert tools["listPets"]["description"] == "List all pets\n\nIn the order they came."
    assert tools["listPets"]["title"] == "List all pets"
    assert sorted(tools["listPets"]["inputSchema"]["properties"]) == ["X-Trace", "filter", "limit", "session", "tags"]
    assert tools["listPets"]["inputSchema"]["properties"]["limit"]["type"] == ["integer", "null"]
    assert tools["changePet"]["inputSchema"]["required"] == ["id", "body_id", "name"]
    assert tools["getPet"]["outputSchema"]["$defs"]["Pet"]["properties"]["friend"] == {"$ref": "#/$defs/Pet"}
    assert tools["getPet"]["annotations"] == {"readOnlyHint": True}
    assert tools["removePet"]["annotations"] == {
        "readOnlyHint": False,
        "destructiveHint": True,
        "idempotentHint": True,
    }


async def test_arguments_go_where_the_document_says():
    async with calling({**PETS, "headers": {"X-Team": "blue"}}) as (caller, api, _):
        result = await caller.call("api__changePet", id="a/b ü", body_id="1", name="Rex", weight=0.10)
        await caller.call(
            "api__listPets", limit=3, tags=["a,b", "c&d"], filter={"k": "v"}, session="s;1", **{"X-Trace": "t"}
        )
        wrong = await caller.call("api__listPets", limit=1000)
        outside = await caller.call("api__getPet", id="..")

    put, get = api.seen
    assert result["content"][0]["type"] == "text"
    assert put["path"] == "/pets/a%2Fb%20%C3%BC"
    assert json.loads(put["body"]) == {"id": "1", "name": "Rex", "weight": 0.1}
    assert put["headers"]["x-team"] == "blue"
    assert get["query"] == "limit=3&tags=a%2Cb&tags=c%26d&filter%5Bk%5D=v"
    assert get["headers"]["cookie"] == "session=s%3B1"
    assert get["headers"]["x-trace"] == "t"
    assert wrong["isError"] is True and "limit" in wrong["content"][0]["text"]
    assert outside["isError"] is True


async def test_credentials_come_from_the_configuration_alone():
    async with calling(PETS) as (caller, api, _):
        made = await caller.call("api__createPet", id="1", name="Rex")
        await caller.call("api__removePet", id="1")
        await caller.call("api__getPet", id="1")

    post, delete, get = api.seen
    assert made["structuredContent"] == {"id": "1", "name": "Rex"}
    assert post["headers"]["x-key"] == SECRET and "authorization" not in post["headers"]
    assert delete["headers"]["authorization"] == "Basic YW5uOnZlcnktc2VjcmV0LWtleQ=="
    assert "x-key" not in get["headers"] and "authorization" not in get["headers"]


async def test_answers_of_every_kind():
    async with calling({"url": "{base}/openapi.json", "auth": {"token": "${env:KEY}"}}) as (caller, api, _):
        image = (await caller.call("api__get_image"))["content"][0]
        data = (await caller.call("api__get_bytes"))["content"][0]
        text = (await caller.call("api__get_text"))["content"][0]
        huge, away = await caller.call("api__get_huge"), await caller.call("api__get_away")
        near = await caller.call("api__get_near")
        busy, denied = await caller.call("api__get_busy"), await caller.call("api__get_denied")
        lie = await caller.call("api__get_lie")

    assert (image["type"], image["mimeType"]) == ("image", "image/png")
    assert data["resource"]["blob"] == "AAE="
    assert text["text"] == near["content"][0]["text"] == "hällo"
    assert huge["isError"] and away["isError"] and lie["isError"]
    assert '"b"' in lie["content"][1]["text"]
    assert busy["_meta"]["dev.trunkline/retryAfter"] == 7 and busy["_meta"]["dev.trunkline/retry"] is True
    assert busy["content"][0]["text"] == "HTTP 429 Too Many Requests; try again in 7 s\n\nslow down"
    assert SECRET not in json.dumps(denied) and denied["_meta"]["dev.trunkline/status"] == 401
    assert all(seen["headers"]["authorization"] == f"Bearer {SECRET}" for seen in api.seen)


async def test_bodies_of_every_kind():
    async with calling({"url": "{base}/openapi.json", "auth": {"token": "${env:KEY}"}}) as (caller, api, _):
        await caller.call("api__form", a="x y&z")
        await caller.call("api__upload", note="hi", file="AAE=")
        await caller.call("api__many", body=[1, 2])

    form, upload, many = api.seen
    assert form["body"] == "a=x%20y%26z"
    assert upload["headers"]["content-type"].startswith("multipart/form-data; boundary=")
    assert 'name="file"; filename="file"' in upload["body"] and "\0\1" in upload["body"]
    assert many["body"] == "[1,2]"


async def test_what_is_shown_can_be_chosen_and_changed():
    chosen = {
        "include": {"tags": ["pets"], "methods": ["GET"]},
        "exclude": {"paths": ["/pets/*"]},
        "overrides": {"listPets": {"name": "pets", "description": "Ours.", "arguments": {"limit": 5}}},
    }
    async with calling({**PETS, "operations": chosen}) as (caller, api, _):
        (tool,) = (await caller.request("tools/list"))["tools"]
        await caller.call("api__pets")

    assert (tool["name"], tool["description"]) == ("api__pets", "Ours.")
    assert "limit" not in tool["inputSchema"]["properties"]
    assert api.seen[0]["query"] == "limit=5"


@pytest.mark.parametrize(
    "members", [{}, {"url": "http://a", "file": "b"}, {"file": "a", "operations": {"includes": {}}}]
)
def test_a_wrong_entry_is_refused(members):
    with pytest.raises(ConfigError):
        (entry,) = parse_document(json.dumps({"mcpServers": {"a": {"type": "openapi", **members}}}), "f").entries
        resolve(entry, {}, Answers(), Path("/"))


def test_a_document_cannot_choose_who_gets_the_credentials():
    document = {**MODERN, "servers": [{"url": "https://evil.example"}]}

    made, faults = listed(document)

    assert not made and "baseUrl" in faults[0]
    assert listed(document, base_url="http://api.example")[0]


def test_hostile_documents_cost_their_own_operations_alone():
    deep: dict = {"type": "object"}
    for _ in range(100):
        deep = {"type": "object", "properties": {"x": deep}}
    parameter = {"name": "q", "in": "query"}
    schemas = {
        "deep": deep,
        "wide": {"type": "object", "properties": {str(n): {} for n in range(20_000)}},
        "nowhere": {"$ref": "#/nowhere"},
        "file": {"$ref": "file:///etc/passwd"},
        "list": {"type": "array", "items": []},
    }
    paths = {
        f"/{name}": {"get": {"parameters": [{**parameter, "schema": schema}], "responses": {}}}
        for name, schema in schemas.items()
    }
    paths["/circle"] = {"$ref": "#/paths/~1circle"}
    paths["/good"] = {"get": {"parameters": [{**parameter, "schema": {"$ref": "#/x"}}], "responses": {}}}

    made, faults = listed({"openapi": "3.1.0", "paths": paths, "x": {"$ref": "#/x"}})

    assert list(made) == ["get_good"]
    assert len(faults) == 6


@pytest.mark.parametrize(
    "raw", [b"[" * 100_000, b"{" * 100_000, b'{"a":' * 1000, b"\xff", b"a: &a [*a]", b"- 1", b"{" + b" " * 17 * 2**20]
)
def test_what_is_no_document_is_refused(raw):
    with pytest.raises(InvalidAnswer):
        parse(raw, "doc")


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(TEXT, st.lists(TEXT, min_size=1))
def test_a_query_comes_back_as_it_went(name, values):
    text = "&".join(encoding.query(name, values, "form", True))

    assert parse_qsl(text, keep_blank_values=True, max_num_fields=1000) == [(name, value) for value in values]


@given(st.dictionaries(TEXT, TEXT, min_size=1))
def test_a_deep_object_comes_back_as_it_went(value):
    pairs = parse_qsl("&".join(encoding.query("o", value, "deepObject", True)), keep_blank_values=True)

    assert pairs == [(f"o[{name}]", item) for name, item in value.items()]


@given(TEXT)
def test_a_path_parameter_stays_one_segment(value):
    try:
        text = encoding.path("p", value, "simple", False)
    except ValueError:
        assert value in ("", ".", "..")
    else:
        assert unquote(text) == value and not set("/?#;\\") & set(text)


@pytest.mark.parametrize(("given", "base"), [({}, "v1"), ({"version": "v2"}, "v2"), ({"version": "../x"}, None)])
def test_server_variables_take_only_what_the_document_allows(given, base):
    made, faults = operations(Document(parse(PETSTORE.read_bytes(), "petstore")), OpenApi(variables=given))

    assert {one.base for one in made.values()} == ({f"http://petstore.example/{base}"} if base else set())
    assert base or "variables" in faults[0]


def test_an_argument_cannot_bring_a_credential_along():
    document = {
        "openapi": "3.1.0",
        "security": [{"key": []}],
        "paths": {"/a": {"get": {"parameters": [{"name": "o", "in": "query", "schema": {"type": "object"}}]}}},
        "components": {"securitySchemes": {"key": {"type": "apiKey", "in": "query", "name": "api_key"}}},
    }
    (operation,) = listed(document, auth={"key": SECRET})[0].values()

    request = build(operation, {"o": {"api_key": "theirs", "x": 1}}, {}, {"key": SECRET})

    assert request.url == f"http://api.example/a?x=1&api_key={SECRET}"


def test_the_examples_of_the_page_are_sound():
    page = Path(__file__).parents[3] / "docs" / "openapi.md"
    examples = re.findall(r"^```json\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)

    assert len(examples) == 2
    for example in examples:
        (entry,) = parse_document(example, "mcp.json").entries
        assert resolve(entry, {"PETSTORE_KEY": SECRET}, Answers(), PETSTORE.parent).transport == "openapi"
