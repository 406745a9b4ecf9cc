"""The official Python SDK signs in and calls a tool: `sdk_sign_in.py MODE URL`; MODE is a revision or `legacy`."""

import asyncio
import json
import sys
import warnings

import httpx2
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata

warnings.simplefilter("ignore")
mode, url = sys.argv[1:]
HOME = "http://127.0.0.1:9/callback"


class Kept:
    tokens = client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


class Browser:
    """Follows the provider's pages, as a person's would, until they lead back to the program."""

    def __init__(self):
        self.back = None
        self.pages = []

    async def go(self, page):
        self.pages.append(page)
        async with httpx2.AsyncClient() as http:
            while not page.startswith(HOME):
                response = await http.get(page)
                page = str(response.url.join(response.headers["location"]))
        self.back = httpx2.URL(page)

    async def answer(self):
        given = self.back.params
        assert "code" in given, (given, self.pages)
        return AuthorizationCodeResult(code=given["code"], state=given.get("state"), iss=given.get("iss"))


async def main():
    browser, kept = Browser(), Kept()
    metadata = OAuthClientMetadata(redirect_uris=[HOME], client_name="sdk", token_endpoint_auth_method="none")
    auth = OAuthClientProvider(url, metadata, kept, browser.go, browser.answer)
    seen = {}
    http = httpx2.AsyncClient(auth=auth, follow_redirects=True)
    async with http, Client(streamable_http_client(url, http_client=http), mode=mode) as client:
        for tool in ("who", "write_file"):
            result = await client.call_tool(tool, {})
            seen[tool] = result.content[0].text
    asked = [dict(httpx2.URL(page).params) for page in browser.pages]
    seen["scopes"] = [one.get("scope") for one in asked]
    seen["resources"] = [one.get("resource") for one in asked]
    print(json.dumps(seen))


asyncio.run(main())
