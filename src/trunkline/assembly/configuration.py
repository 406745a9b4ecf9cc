"""What `trunkline.yaml` may say, as types.

What it is for: the one description of every key; the reader, the JSON Schema and `trunkline config` follow it.
What may live here: Structs, their descriptions, defaults and examples. What may not: reading, resolving, applying.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from trunkline.assembly.auth_settings import AuthSettings
from trunkline.assembly.task_settings import TaskSettings
from trunkline.policy.limits import CallLimits
from trunkline.portable.model import PinMode

Seconds = Annotated[float, Meta(gt=0)]
Text = Annotated[str, Meta(min_length=1)]
Value = Annotated[object, Meta(extra_json_schema={"description": "Any value."})]


class OperationPatterns(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Operations by what they are; in each list * is any text."""

    operation_ids: Annotated[
        tuple[Text, ...], Meta(description="Their `operationId`s.", examples=[["list*", "getPet"]])
    ] = ()
    tags: Annotated[tuple[Text, ...], Meta(description="Their tags.", examples=[["pets"]])] = ()
    methods: Annotated[tuple[Text, ...], Meta(description="Their HTTP methods.", examples=[["GET"]])] = ()
    paths: Annotated[tuple[Text, ...], Meta(description="Their paths.", examples=[["/pets/*"]])] = ()


class OverrideSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The tool of one operation, otherwise than the document says."""

    name: Annotated[Text | None, Meta(description="Its name. Left out: the document's.", examples=["pets"])] = None
    description: Annotated[
        str | None, Meta(description="What it does, for the model.", examples=["The pets of our shop."])
    ] = None
    arguments: Annotated[
        dict[str, Value],
        Meta(description="Arguments that are filled in; callers neither see nor set them.", examples=[{"shop": 7}]),
    ] = {}


class OperationSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which operations of an OpenAPI document become tools, and how."""

    include: Annotated[OperationPatterns, Meta(description="Only operations that match every list given here.")] = (
        OperationPatterns()
    )
    exclude: Annotated[OperationPatterns, Meta(description="No operation that matches one of these lists; wins.")] = (
        OperationPatterns()
    )
    overrides: Annotated[
        dict[str, OverrideSettings],
        Meta(description="Changes by `operationId`, or by the tool's name where there is none."),
    ] = {}
    output: Annotated[
        bool, Meta(description="Whether tools declare the schema of their answers.", examples=[False])
    ] = True


class ServerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One server behind the gateway: a command, an address, or an HTTP API with an OpenAPI document."""

    command: Annotated[str | None, Meta(description="The program to start.", examples=["uvx"])] = None
    args: Annotated[tuple[str, ...], Meta(description="Its arguments.", examples=[["mcp-server-time"]])] = ()
    env: Annotated[
        dict[str, str],
        Meta(description="Variables added to its environment.", examples=[{"API_KEY": "${env:API_KEY}"}]),
    ] = {}
    env_file: Annotated[
        str | None, Meta(description="A file of such variables, one NAME=value a line; `env` wins.", examples=[".env"])
    ] = None
    cwd: Annotated[
        str | None, Meta(description="The folder it starts in; a relative one starts at this file.", examples=["tools"])
    ] = None
    url: Annotated[
        str | None,
        Meta(
            description="The address of a remote server, or of an OpenAPI document.",
            examples=["https://docs.example.com/mcp"],
        ),
    ] = None
    headers: Annotated[
        dict[str, str],
        Meta(description="Headers sent with every request.", examples=[{"Authorization": "Bearer ${env:DOCS_TOKEN}"}]),
    ] = {}
    transport: Annotated[
        Literal["stdio", "http", "sse", "openapi"] | None,
        Meta(
            description="How it is reached. Left out: stdio for a command; http, then sse, for an address.",
            examples=["http"],
        ),
    ] = None
    file: Annotated[
        str | None,
        Meta(description="An OpenAPI document; a relative one starts at this file.", examples=["petstore.yaml"]),
    ] = None
    base_url: Annotated[
        str | None,
        Meta(
            description="Where the API is, instead of what its document says.", examples=["https://api.example.com/v1"]
        ),
    ] = None
    auth: Annotated[
        dict[str, Value] | Literal["sign-in"],
        Meta(
            description="How the gateway signs in; for an API, its credentials by security scheme of its document.",
            examples=["sign-in", {"api_key": "${env:PETSTORE_KEY}"}],
        ),
    ] = {}
    variables: Annotated[
        dict[str, str],
        Meta(description="Values of the server variables in an OpenAPI document.", examples=[{"region": "eu"}]),
    ] = {}
    operations: Annotated[
        OperationSettings, Meta(description="Which operations of an OpenAPI document become tools, and how.")
    ] = OperationSettings()
    disabled: Annotated[bool, Meta(description="Listed, but not run.", examples=[True])] = False
    allow: Annotated[
        tuple[str, ...] | None,
        Meta(description="The tools to show, by its own names; * is any text.", examples=[["git_*"]]),
    ] = None
    deny: Annotated[
        tuple[str, ...], Meta(description="The tools to hide; wins over `allow`.", examples=[["git_push*"]])
    ] = ()
    processes: Annotated[
        Literal["shared", "per-session", "per-call", "stateless"],
        Meta(
            description="Whether all callers share a process, or each has one, or each call of theirs at a time; "
            "`stateless` is shared, by a server that keeps nothing.",
            examples=["per-session"],
        ),
    ] = "shared"
    lost_process: Annotated[
        Literal["error", "replace"],
        Meta(
            description="What a caller gets whose process (per-session) is gone with its replica: one error, or "
            "another process unsaid.",
            examples=["replace"],
        ),
    ] = "error"
    pins: Annotated[
        PinMode | None,
        Meta(description="As the gateway's `pins`, for this server. Left out: as there.", examples=["off"]),
    ] = None
    tasks: Annotated[
        bool | TaskSettings,
        Meta(
            description="Calls of its tools become durable tasks of the gateway: `true`, or which and how.",
            examples=[True],
        ),
    ] = False
    startup_timeout: Annotated[
        Seconds | None, Meta(description="Seconds it may take to start. Left out: 120.", examples=[30])
    ] = None
    connect_timeout: Annotated[
        Seconds | None, Meta(description="Seconds a connection to it may take. Left out: 10.", examples=[3])
    ] = None
    idle_timeout: Annotated[
        Seconds | None,
        Meta(
            description="Seconds of a call without anything coming at all. Left out: as request_timeout.", examples=[30]
        ),
    ] = None
    request_timeout: Annotated[
        Seconds | None,
        Meta(description="Seconds a call may be silent; progress starts them anew. Left out: 60.", examples=[300]),
    ] = None
    total_timeout: Annotated[
        Seconds | None,
        Meta(description="Seconds a call may take in all, whatever its progress. Left out: 3600.", examples=[900]),
    ] = None
    drain_timeout: Annotated[
        Seconds | None,
        Meta(
            description="Seconds that calls in flight have to end when it is changed or removed. Left out: 30.",
            examples=[120],
        ),
    ] = None
    title: Annotated[str | None, Meta(description="Its name for people.", examples=["Documentation"])] = None
    description: Annotated[str | None, Meta(description="What it is for, for people.", examples=["Our docs"])] = None


class Listen(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the endpoint is served. Options of the command line win; changes take effect at the next start."""

    host: Annotated[Text, Meta(description="The address to listen on.", examples=["0.0.0.0"])] = "127.0.0.1"  # noqa: S104
    port: Annotated[
        Annotated[int, Meta(ge=0, le=65535)], Meta(description="The port; 0 takes a free one.", examples=[9000])
    ] = 8808
    path: Annotated[
        Annotated[str, Meta(pattern="^/")], Meta(description="The path of the endpoint.", examples=["/mcp"])
    ] = "/mcp"
    public_url: Annotated[
        str | None,
        Meta(
            description="Where clients find it, with a proxy in front: what stands before the path.",
            examples=["https://mcp.example.com"],
        ),
    ] = None
    allowed_hosts: Annotated[
        tuple[str, ...], Meta(description="Further Host headers to accept.", examples=[["mcp.example.com"]])
    ] = ()
    allowed_origins: Annotated[
        tuple[str, ...], Meta(description="Web origins to accept.", examples=[["https://app.example.com"]])
    ] = ()
    trusted_proxies: Annotated[
        tuple[str, ...], Meta(description="Networks whose X-Forwarded-* headers count.", examples=[["10.0.0.0/8"]])
    ] = ()
    workers: Annotated[
        Annotated[int, Meta(ge=1, le=256)],
        Meta(description="Processes that serve the endpoint together; more than one need `keys`.", examples=[4]),
    ] = 1
    drain_delay: Annotated[
        Annotated[float, Meta(ge=0)],
        Meta(
            description="Seconds after SIGTERM in which requests are still taken, while /readyz says to send none.",
            examples=[5],
        ),
    ] = 0
    drain_timeout: Annotated[
        Annotated[float, Meta(ge=0)],
        Meta(description="Seconds calls then get to finish; the rest are answered with an error.", examples=[60]),
    ] = 10
    call_timeout: Annotated[
        Seconds | None, Meta(description="Seconds after which any call is stopped. Left out: no limit.", examples=[600])
    ] = None


class TokenSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One bearer token that may call. It has either `sha256` or `secret`."""

    name: Annotated[Text, Meta(description="Who uses it; the trail and the logs say this name.", examples=["ci"])]
    sha256: Annotated[
        Annotated[str, Meta(pattern="^[0-9a-fA-F]{64}$")] | None,
        Meta(description="The SHA-256 of the token, in hex: printf %s TOKEN | sha256sum.", examples=["9f86d0…"]),
    ] = None
    secret: Annotated[
        str | None, Meta(description="A reference to where the token is kept.", examples=["${env:CI_TOKEN}"])
    ] = None
    tools: Annotated[
        tuple[str, ...] | None,
        Meta(
            description="The tools it may see and call; * is any text. Left out: all.",
            examples=[["time__*"]],
        ),
    ] = None


class EditSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tool or prompt that an endpoint shows otherwise than its server does."""

    name: Annotated[
        Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,64}$")] | None,
        Meta(description="Its name here. Left out: the gateway's.", examples=["now"]),
    ] = None
    title: Annotated[str | None, Meta(description="Its title here.", examples=["Now"])] = None
    description: Annotated[
        str | None, Meta(description="What it does, for the model.", examples=["What time it is in Zurich."])
    ] = None
    pin: Annotated[
        dict[str, Value],
        Meta(
            description="Arguments that are filled in; clients neither see nor set them.",
            examples=[{"timezone": "Europe/Zurich"}],
        ),
    ] = {}


class EndpointSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A selection of the gateway under a path of its own, /endpoints/NAME/mcp."""

    tools: Annotated[
        tuple[Text, ...],
        Meta(description="The tools it has, by the gateway's names; * is any text.", examples=[["git__*"]]),
    ] = ()
    prompts: Annotated[
        tuple[Text, ...], Meta(description="The prompts it has, likewise.", examples=[["git__review"]])
    ] = ()
    resources: Annotated[
        tuple[Text, ...],
        Meta(description="The resources and templates it has, by their URIs, likewise.", examples=[["docs://*"]]),
    ] = ()
    edit_tools: Annotated[
        dict[str, EditSettings], Meta(description="Tools to show otherwise, by the gateway's names.")
    ] = {}
    edit_prompts: Annotated[
        dict[str, EditSettings], Meta(description="Prompts to show otherwise, by the gateway's names.")
    ] = {}
    instructions: Annotated[
        str | None, Meta(description="Guidance for the model. Left out: the gateway's.", examples=["For travellers."])
    ] = None
    discovery: Annotated[
        Literal["list", "progressive"],
        Meta(
            description="How clients learn of tools: a list, or find_tools and call_tool alone.",
            examples=["progressive"],
        ),
    ] = "list"


class StorageSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where state is kept that outlives a request."""

    url: Annotated[
        Text | None,
        Meta(
            description="The database that replicas share. Left out: a file on this machine; over stdio, memory.",
            examples=["postgresql://trunkline:${env:DB_PASSWORD}@db.example.com/trunkline"],
        ),
    ] = None


class Configuration(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The configuration of a trunkline gateway."""

    include: Annotated[
        tuple[Text, ...],
        Meta(description="Configuration files of clients whose servers come first.", examples=[["mcp.json"]]),
    ] = ()
    servers: Annotated[dict[str, ServerSettings], Meta(description="The servers behind the gateway, by name.")] = {}
    pins: Annotated[
        PinMode,
        Meta(
            description="Tools to refuse, by the lock file: `changed` ones, or all that are not pinned too (`strict`).",
            examples=["strict"],
        ),
    ] = "off"
    prefix: Annotated[
        bool,
        Meta(
            description="Names begin with their server's; false, for one server alone, leaves them.", examples=[False]
        ),
    ] = True
    endpoints: Annotated[
        dict[str, EndpointSettings], Meta(description="Selections of the gateway under paths of their own, by name.")
    ] = {}
    listen: Annotated[Listen, Meta(description="Where the endpoint is served.")] = Listen()
    storage: Annotated[
        StorageSettings | Literal["memory"],
        Meta(description="Where state is kept. `storage: memory` keeps all of it in the process."),
    ] = StorageSettings()
    keys: Annotated[
        Text | None,
        Meta(
            description="The file of the keys that seal what clients carry; the same for all replicas and workers.",
            examples=["/run/secrets/trunkline-keys"],
        ),
    ] = None
    tokens: Annotated[
        tuple[TokenSettings, ...],
        Meta(description="Who may call, by tokens handed out by hand. Left out: everybody on this machine, or `auth`."),
    ] = ()
    auth: Annotated[
        AuthSettings | None,
        Meta(
            description="Who may call: whoever signs in at an identity provider. Left out: see `tokens`.",
            examples=[{"issuer": "https://id.example.com", "audience": "https://mcp.example.com/mcp"}],
        ),
    ] = None
    limits: Annotated[CallLimits, Meta(description="How many calls there may be at once and a second.")] = CallLimits()
