"""The yardstick: an ASGI application that reads a JSON body and sends it back, and nothing else."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


def _echo(decode: Callable[[bytes], object], encode: Callable[[object], bytes]) -> App:
    async def app(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        reply = encode(decode(body))
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(reply)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": reply})

    return app


# The budget's bare ASGI JSON echo: the standard library decodes and encodes.
standard = _echo(json.loads, lambda value: json.dumps(value).encode())
# The same with msgspec: how much of a call the JSON library is.
fast = _echo(msgspec.json.decode, msgspec.json.encode)
