"""A server in the official Python SDK that takes bearer tokens: `sdk_protected.py ISSUER` prints its URL.

Wired as the SDK's example of a resource server is: it asks the issuer what each token is worth.
"""

import json
import logging
import socket
import sys

import httpx2
import uvicorn
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken, TokenVerifier
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer

logging.disable(logging.CRITICAL)
issuer = sys.argv[1]


class Introspection(TokenVerifier):
    async def verify_token(self, token: str) -> AccessToken | None:
        async with httpx2.AsyncClient(auth=("gateway", "gateways-secret")) as http:
            response = await http.post(f"{issuer}/token/introspection", data={"token": token})
        said = response.json()
        if response.status_code != 200 or not said["active"]:
            return None
        return AccessToken(
            token=token,
            client_id=said["client_id"],
            scopes=said["scope"].split(),
            expires_at=said["exp"],
            resource=said["aud"],
            subject=said["sub"],
            claims=said,
        )


def main() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
        settings = AuthSettings(
            issuer_url=issuer, resource_server_url=url, required_scopes=["mcp"], validate_token_resource=True
        )
        server = MCPServer("protected", token_verifier=Introspection(), auth=settings)

        @server.tool(structured_output=False)
        def who() -> str:
            """Say whose token came, and whether it is bound to a key."""
            token = get_access_token()
            return json.dumps([token.subject, token.scopes, "cnf" in token.claims])

        print(url, flush=True)
        uvicorn.Server(uvicorn.Config(server.streamable_http_app(), log_level="critical")).run(sockets=[listener])


main()
