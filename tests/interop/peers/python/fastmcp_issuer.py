"""A FastMCP server that is its own authorization server, of the official SDK's parts: it prints its URL."""

import logging
import socket

import uvicorn
from fastmcp import FastMCP
from fastmcp.server.auth.auth import ClientRegistrationOptions
from fastmcp.server.auth.providers.in_memory import InMemoryOAuthProvider
from fastmcp.server.dependencies import get_access_token

logging.disable(logging.CRITICAL)


def main() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        base = f"http://127.0.0.1:{listener.getsockname()[1]}"
        registration = ClientRegistrationOptions(enabled=True, valid_scopes=["mcp"], default_scopes=["mcp"])
        auth = InMemoryOAuthProvider(base_url=base, client_registration_options=registration, required_scopes=["mcp"])
        server = FastMCP("issuer", auth=auth)

        @server.tool(output_schema=None)
        def scopes() -> str:
            """Say what the token that came allows."""
            return " ".join(get_access_token().scopes)

        print(f"{base}/mcp", flush=True)
        uvicorn.Server(uvicorn.Config(server.http_app(path="/mcp"), log_level="critical")).run(sockets=[listener])


main()
