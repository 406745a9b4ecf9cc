"""Input that no client should send, for every transport."""

from tests.transports.fixture import VERSION, meta, request
from trunkline.protocol import json

_DEEP = 100_000

NOT_MESSAGES: list[bytes] = [
    b"nonsense",
    b"{",
    b"[",
    b"null",
    b"true",
    b"7",
    b"NaN",
    b'"text"',
    b"[]",
    b"{}",
    b"{}{}",
    b'{"jsonrpc":"2.0"}',
    b'{"jsonrpc":"1.0","id":1,"method":"ping"}',
    b'{"jsonrpc":2.0,"id":1,"method":"ping"}',
    b'{"id":1,"method":"ping"}',
    b'{"jsonrpc":"2.0","id":{},"method":"ping"}',
    b'{"jsonrpc":"2.0","id":[1],"method":"ping"}',
    b'{"jsonrpc":"2.0","id":null,"method":"ping"}',
    b'{"jsonrpc":"2.0","id":true,"method":"ping"}',
    b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}',
    b'{"jsonrpc":"2.0","id":1,"method":7}',
    b'{"jsonrpc":"2.0","id":1,"method":null}',
    b'{"jsonrpc":"2.0","id":1,"method":"ping"',
    b'{"jsonrpc":"2.0","id":1,"method":"ping"}}',
    b'{"jsonrpc":"2.0","id":1,"method":"ping",}',
    b"{'jsonrpc':'2.0','id':1,'method':'ping'}",
    b"[" * _DEEP,
    b'{"a":' * _DEEP,
    b'{"jsonrpc":"2.0","id":' + b"[" * _DEEP + b"]" * _DEEP + b',"method":"ping"}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":' + b"[" * _DEEP,
    b'{"jsonrpc":"2.0","id":' + b"9" * 5000 + b',"method":"ping"}',
    b'{"jsonrpc":"2.0","id":1e400,"method":"ping"}',
    b"\xff\xfe{}",
    b"\xef\xbb\xbf{}",
    b"\x00",
    b'{"jsonrpc":"2.0","id":1,"method":"\\ud800"}',
    b'{"jsonrpc":"2.0","id":"\\udfff","method":"ping"}',
    b'{"jsonrpc":"2.0","id":1,"method":"\xff"}',
    b'{"jsonrpc":"2.0","id":1,"method":"a\nb"}',
]
"""Not JSON, or not JSON-RPC: answered with an error wherever they arrive."""

_PARAMS: list[bytes] = [
    b"null",
    b"7",
    b'"text"',
    b"[]",
    b"[" * _DEEP + b"]" * _DEEP,
    b'{"a":' * _DEEP + b"1" + b"}" * _DEEP,
    b'{"name":7}',
    b'{"name":null}',
    b'{"name":"\\ud800"}',
    b'{"name":"echo","arguments":{"text":"\\udfff\\ud800"}}',
    b'{"name":"echo","arguments":null}',
    b'{"name":"echo","arguments":[1]}',
    b'{"name":"echo","arguments":' + b"[" * _DEEP + b"]" * _DEEP + b"}",
    b'{"name":"echo","name":"count","arguments":{"text":1},"arguments":{}}',
    b'{"name":"echo","_meta":7}',
    b'{"name":"echo","_meta":{"progressToken":{}}}',
    b'{"name":"echo","_meta":{"progressToken":1.5}}',
    b'{"name":"' + b"x" * 1_000_000 + b'"}',
    b'{"name":"a\\u0000b"}',
    b'{"uri":["a"],"cursor":{},"name":"echo"}',
    b'{"requestState":"x","inputResponses":7,"name":"echo"}',
    b'{"requestState":7,"name":"echo"}',
    b'{"dev.trunkline/raw":{"name":"count"},"name":"nope"}',
    b'{"name":"echo","arguments":{"text":1e999}}',
    b'{"name":"echo","arguments":{"text":' + b"9" * 10_000 + b"}}",
]

_METHODS = ("tools/call", "tools/list", "resources/read", "subscriptions/listen", "initialize", "logging/setLevel")


def _with_params(method: str, params: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":1,"method":"' + method.encode() + b'","params":' + params + b"}"


BAD_PARAMS: list[bytes] = [_with_params(method, params) for method in _METHODS[:1] for params in _PARAMS]
BAD_PARAMS += [_with_params(method, params) for method in _METHODS[1:] for params in _PARAMS[:7]]

BAD_META: list[bytes] = [
    request(1, "tools/call", {"name": "echo", "arguments": {"text": "x"}, "_meta": {**meta(), **change}})
    for change in (
        {VERSION: "2025-11-25"},
        {VERSION: ""},
        {VERSION: "2026-07-28\n"},
        {VERSION: "é" * 1000},
        {"io.modelcontextprotocol/clientCapabilities": 7},
        {"io.modelcontextprotocol/clientInfo": "me"},
        {"io.modelcontextprotocol/logLevel": "loud"},
        {"progressToken": None},
        {"traceparent": 7},
    )
]

ODD_RESPONSES: list[bytes] = [
    json.encode({"jsonrpc": "2.0", "id": id, **rest})
    for id in ("unknown", 7, "")
    for rest in (
        {"result": {}},
        {"result": None},
        {"error": {}},
        {"error": None},
        {"error": {"code": "x"}},
        {"result": 1, "error": 2},
    )
]
"""Responses nobody waits for: taken in silence, or refused."""
