"""What `auth` in `trunkline.yaml` may say, as types.

What it is for: sign-in by access tokens of an issuer, described once for the reader, the JSON Schema and the commands.
What may live here: Structs and their descriptions. What may not: reading, resolving, applying.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

_Text = Annotated[str, Meta(min_length=1)]
_Names = tuple[_Text, ...]
_Needed = _Names | Literal["nobody"]
_Seconds = Annotated[float, Meta(gt=0)]


class ScopeSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The scopes that requests take; whatever rules match one are needed together."""

    always: Annotated[_Names, Meta(description="For anything at all.", examples=[["mcp"]])] = ()
    tools: Annotated[
        dict[str, _Needed],
        Meta(
            description="For tools, by the gateway's names, * is any text; `nobody` also hides them.",
            examples=[{"git__push*": ["repo.write"]}],
        ),
    ] = {}
    prompts: Annotated[
        dict[str, _Needed], Meta(description="For prompts, likewise.", examples=[{"git__review": ["repo.read"]}])
    ] = {}
    resources: Annotated[
        dict[str, _Needed],
        Meta(description="For resources, by their URIs, likewise.", examples=[{"file:///etc/*": "nobody"}]),
    ] = {}
    methods: Annotated[
        dict[str, _Needed],
        Meta(description="For methods of the protocol, likewise.", examples=[{"completion/complete": ["repo.read"]}]),
    ] = {}
    implies: Annotated[
        dict[str, _Names],
        Meta(description="Scopes that stand for others as well.", examples=[{"repo.write": ["repo.read"]}]),
    ] = {}


class DPoPSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked of tokens that are bound to a key of the client, and so useless when stolen (DPoP)."""

    mode: Annotated[
        Literal["off", "optional", "required"],
        Meta(description="Whether they are taken, and whether others are.", examples=["required"]),
    ] = "optional"
    tools: Annotated[
        _Names,
        Meta(description="Tools that take such a token though the rest does not.", examples=[["pay__*"]]),
    ] = ()
    nonces: Annotated[
        bool, Meta(description="Each proof carries a nonce of ours: none can be made in advance.", examples=[True])
    ] = False
    window: Annotated[
        Annotated[float, Meta(gt=0, le=300)], Meta(description="Seconds a proof may be old, or ahead.", examples=[60])
    ] = 300
    replay: Annotated[
        Literal["process", "shared"],
        Meta(
            description="Who knows which proofs were used: one process, or all replicas by their storage.",
            examples=["shared"],
        ),
    ] = "process"


class IntrospectionSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the issuer is asked about each token."""

    client_id: Annotated[_Text, Meta(description="What the gateway is known as there.", examples=["gateway"])]
    client_secret: Annotated[
        _Text, Meta(description="A reference to its secret there.", examples=["${env:GATEWAY_SECRET}"])
    ]
    url: Annotated[
        _Text | None,
        Meta(
            description="Where to ask. Left out: what the issuer's metadata says.",
            examples=["https://id.example.com/introspect"],
        ),
    ] = None
    method: Annotated[
        Literal["client_secret_basic", "client_secret_post"],
        Meta(description="How the secret is sent.", examples=["client_secret_post"]),
    ] = "client_secret_basic"
    keep: Annotated[
        Annotated[float, Meta(ge=0)],
        Meta(description="Seconds an answer is used again; a token revoked meanwhile still counts.", examples=[60]),
    ] = 10

    def __repr__(self) -> str:
        return f"IntrospectionSettings(client_id={self.client_id!r})"


class AuthSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may call: whoever has an access token of this issuer, for this gateway."""

    issuer: Annotated[
        _Text,
        Meta(
            description="Whose tokens are taken, letter for letter as its metadata says.",
            examples=["https://id.example.com"],
        ),
    ]
    audience: Annotated[
        _Text | _Names,
        Meta(
            description="Whom tokens must be for: the public URL of the endpoint, or its name at the issuer.",
            examples=["https://mcp.example.com/mcp"],
        ),
    ]
    scopes: Annotated[
        _Names | ScopeSettings,
        Meta(description="The scopes that requests take; a list is what all of them take.", examples=[["mcp"]]),
    ] = ()
    dpop: Annotated[
        DPoPSettings | Literal["off", "optional", "required"],
        Meta(description="About tokens bound to a key; a mode alone is the short form.", examples=["required"]),
    ] = "optional"
    introspection: Annotated[
        IntrospectionSettings | None, Meta(description="Ask the issuer about each token instead of reading it.")
    ] = None
    jwks_url: Annotated[
        _Text | None,
        Meta(
            description="Where the issuer's keys are. Left out: what its metadata says.",
            examples=["https://id.example.com/keys"],
        ),
    ] = None
    keys_fresh: Annotated[
        _Seconds,
        Meta(description="Seconds after which keys are fetched again; so long a withdrawn one counts.", examples=[60]),
    ] = 300
    name: Annotated[
        _Text | None, Meta(description="The gateway's name for people who sign in.", examples=["Our tools"])
    ] = None
    allow: Annotated[
        _Names,
        Meta(
            description="Addresses of the issuer that are asked though they are not public.",
            examples=[["http://keycloak:8080"]],
        ),
    ] = ()
