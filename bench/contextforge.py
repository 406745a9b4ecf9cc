"""ContextForge over one upstream: as its quick start runs it, without what stands in the way of a measurement."""

import json
import secrets
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from bench import subjects
from bench.subjects import LEGACY, LOGS, MODERN, ROOT, Running, Subject, Unavailable

PYTHON = ROOT / "build/contextforge/bin/python"
LOG = ROOT / "build/contextforge.log"
FOLDER = LOGS / "contextforge"
ADMIN = "admin@example.com"
# A first start lays out its database; on a busy machine that takes minutes.
PATIENCE = 300
SUBJECT = Subject("ContextForge", "mcpgateway", PYTHON, tool="bench-add", least=8)

# Nobody signs in and no rate is limited, as with the other gateways; loopback is refused otherwise.
SETTINGS = {
    "AUTH_REQUIRED": "false",
    "RATE_LIMITING_ENABLED": "false",
    "MCPGATEWAY_UI_ENABLED": "false",
    "MCPGATEWAY_ADMIN_API_ENABLED": "true",
    "SSRF_ALLOW_LOCALHOST": "true",
    "SSRF_ALLOW_PRIVATE_NETWORKS": "true",
    "LOG_LEVEL": "ERROR",
    "DATABASE_URL": f"sqlite:///{FOLDER / 'mcp.db'}",
    "PLATFORM_ADMIN_EMAIL": ADMIN,
}


def release() -> tuple[str, str]:
    """Its version, and that of the Python it runs on. Raises `Unavailable` where it is not installed."""
    ask = "import sys, importlib.metadata as m; print(m.version('mcp-contextforge-gateway'), sys.version.split()[0])"
    if PYTHON.exists():
        found = subprocess.run([PYTHON, "-c", ask], capture_output=True, text=True, check=False)
        if found.returncode == 0:
            version, python = found.stdout.split()
            return version, python
    raise Unavailable(f"it could not be installed; {LOG.relative_to(ROOT)} says why")


@contextmanager
def contextforge(upstream: Running) -> Iterator[Running]:
    """Start it, register the upstream, and publish its tool. Raises `Unavailable` where that fails."""
    version, _ = release()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    key, port = secrets.token_hex(32), subjects.free_port()
    told = {**SETTINGS, "JWT_SECRET_KEY": key, "AUTH_ENCRYPTION_SECRET": secrets.token_hex(32)}
    told |= {name: f"Aa1!{secrets.token_hex(12)}" for name in ("PLATFORM_ADMIN_PASSWORD", "DEFAULT_USER_PASSWORD")}
    command = [str(PYTHON.with_name("mcpgateway")), "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with subjects.process(
        SUBJECT, [*command, "--no-access-log"], port, told, folder=FOLDER, patience=PATIENCE
    ) as server:
        token = _token(key, told)
        try:
            path = _publish(port, token, upstream)
        except (OSError, LookupError) as error:
            raise Unavailable(f"the upstream could not be registered: {error!r}") from error
        # Up to 1.0 it speaks the older wire only.
        wire = LEGACY if version.startswith("1.0.") else MODERN
        yield replace(server, path=path, token=token, wire=wire)


def _token(key: str, told: dict[str, str]) -> str:
    command = [str(PYTHON), "-m", "mcpgateway.utils.create_jwt_token", "--username", ADMIN, "--exp", "600"]
    made = subprocess.run([*command, "--secret", key], env=told, cwd=FOLDER, capture_output=True, text=True, check=True)
    return str(made.stdout.split()[-1])


def _publish(port: int, token: str, upstream: Running) -> str:
    """Register the upstream; returns the path of an endpoint that has its tool."""
    _send(port, token, "gateways", {"name": "bench", "url": upstream.url, "transport": "STREAMABLEHTTP"})
    [tool] = [one["id"] for one in _send(port, token, "tools") if one["name"] == SUBJECT.tool]
    made = _send(port, token, "servers", {"server": {"name": "bench", "associated_tools": [tool]}})
    return f"/servers/{made['id']}/mcp"


def _send(port: int, token: str, what: str, body: dict[str, object] | None = None) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/{what}",
        None if body is None else json.dumps(body).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        return json.load(response)
