"""The yardstick of a gateway: an ASGI application that sends a request on over a pool, and the answer back."""

import os

import aiohttp

from bench.apps.echo import App, Message, Receive, Send

# What aiohttp and the server underneath say for themselves.
OWN = {b"host", b"content-length", b"connection"}


def create() -> App:
    """Everything goes to the address in `BENCH_UPSTREAM`."""
    url = os.environ["BENCH_UPSTREAM"]
    pool: list[aiohttp.ClientSession] = []

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if not pool:
            pool.append(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        sent = [(name.decode(), value.decode()) for name, value in scope["headers"] if name not in OWN]
        async with pool[0].post(url, data=body, headers=sent) as response:
            reply = await response.read()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(reply)).encode())]
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply})

    return app
