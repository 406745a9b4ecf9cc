"""The official Python SDK's client, signed in by our plug-in: `sdk_client.py PACKAGES GRANT`, GRANT as JSON.

PACKAGES is where trunkline and what it needs are installed; they come after the SDK's own. Prints what the client saw.
"""

import asyncio
import json
import site
import sys
import warnings

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

site.addsitedir(sys.argv[1])
from trunkline.auth.client_authentication import SecretClient
from trunkline.auth.client_credentials import ClientCredentials
from trunkline.auth.enterprise import EnterpriseManaged, IdentityProvider
from trunkline.auth.httpx_auth import httpx_auth
from trunkline.auth.oauth import OAuth
from trunkline.auth.workload import WorkloadIdentity
from trunkline.auth.workload_tokens import TokenFile

warnings.simplefilter("ignore")
given = json.loads(sys.argv[2])


def grant():
    if given["grant"] == "workload":
        return WorkloadIdentity(TokenFile(given["file"]))
    if given["grant"] == "enterprise":
        provider = IdentityProvider(given["idp"], SecretClient("agent", "s3cret-idp"), f"{given['idp']}/exchange")
        return EnterpriseManaged(provider, id_token="the-id-token", client=SecretClient("agent", "s3cret"))
    return ClientCredentials("agent", "s3cret")


async def main():
    auth = httpx_auth(OAuth(grant(), dpop=given["dpop"]))
    async with (
        httpx2.AsyncClient(auth=auth) as http_client,
        Client(streamable_http_client(given["url"], http_client=http_client), mode=given["mode"]) as client,
    ):
        tools = sorted(tool.name for tool in (await client.list_tools()).tools)
        who = json.loads((await client.call_tool("who", {})).content[0].text)
    print(json.dumps({"tools": tools, "who": who}))


asyncio.run(main())
