"""A real OpenID provider (npm `oidc-provider`), and a person with a browser for it."""

import base64
import contextlib
import json
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import aiohttp
from joserfc.jwk import ECKey

from tests.interop.running import ROOT, environment, node


@dataclass
class OpenID:
    """The provider: started, stopped and started again with other keys, always under the same address."""

    folder: Path
    format: str
    port: int
    lifetime: int = 300
    child: subprocess.Popen[str] | None = None

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def change_keys(self) -> None:
        """The next start has other keys."""
        key = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256"})
        key.ensure_kid()
        (self.folder / "keys.json").write_text(json.dumps({"keys": [key.as_dict(private=True)]}))

    def start(self) -> None:
        """Returns when it listens."""
        command = [
            *node("provider.mjs"),
            str(self.port),
            str(self.folder / "keys.json"),
            self.format,
            str(self.lifetime),
        ]
        self.child = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT, text=True, env=environment()
        )
        assert self.child.stdout is not None
        assert "provider at" in self.child.stdout.readline()

    def stop(self) -> None:
        """Gone at once."""
        if self.child is not None:
            self.child.kill()
            self.child.wait()
            assert self.child.stdout is not None
            self.child.stdout.close()
            self.child = None

    async def token(self, resource: str, scope: str = "mcp", client: str = "robot", **headers: str) -> dict[str, Any]:
        """An access token by client credentials."""
        form = {"grant_type": "client_credentials", "resource": resource, "scope": scope}
        return await self.post("/token", form, client, **headers)

    async def post(self, path: str, form: dict[str, str], client: str, **headers: str) -> dict[str, Any]:
        """A request of a client that proves itself."""
        pair = base64.b64encode(f"{client}:{client}s-secret".encode()).decode()
        sent = {"Authorization": f"Basic {pair}", **headers}
        async with aiohttp.ClientSession() as http, http.post(self.issuer + path, data=form, headers=sent) as response:
            text = await response.text()
            return {"status": response.status, **(json.loads(text) if text else {})}


@contextlib.contextmanager
def provider(folder: Path, format: str = "jwt", lifetime: int = 300) -> Iterator[OpenID]:
    """A running provider, whose people get access tokens that hold for some seconds."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        made = OpenID(folder, format, free.getsockname()[1], lifetime)
    made.change_keys()
    made.start()
    try:
        yield made
    finally:
        made.stop()


class Person:
    """Somebody with a browser, who agrees; nothing listens where they come back to."""

    def __init__(self) -> None:
        self.pages: list[str] = []
        self.redirect_uri = ""

    @contextlib.asynccontextmanager
    async def visit(self, redirect_uri: str | None) -> AsyncIterator["Person"]:
        self.redirect_uri = redirect_uri or "http://127.0.0.1:9/callback"
        yield self

    async def go(self, url: str, is_answer: Callable[[str], bool]) -> str:
        """Follow the pages until they lead back."""
        self.pages.append(url)
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
            while not url.startswith(self.redirect_uri):
                async with http.get(url, allow_redirects=False) as response:
                    assert response.status in (302, 303), await response.text()
                    url = urljoin(url, response.headers["Location"])
        return url
