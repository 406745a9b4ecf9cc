"""What a caller owns stays theirs: over a refreshed token, and against everybody else's."""

import json
from pathlib import Path

from tests.auth.authority import Guarded, authority, guarded
from trunkline import TaskPolicy
from trunkline.auth.proofs import ProofKey

EXTENSION = "io.modelcontextprotocol/tasks"


async def ask(made: Guarded, method: str, params: dict[str, object], token: str, **more: str) -> dict[str, object]:
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {"extensions": {EXTENSION: {}}},
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}
    headers = {"MCP_Protocol_Version": "2026-07-28", "Mcp_Method": method}
    headers["Mcp_Name"] = str(params.get("name", params.get("taskId")))
    response = await made.post(body, token, **headers, **more)
    answer: dict[str, object] = json.loads(await response.read())
    return answer


async def test_a_task_is_of_no_use_to_another_caller(tmp_path: Path) -> None:
    storage = {"storage": f"sqlite:///{tmp_path / 'tasks.db'}"}
    async with authority() as issuer, guarded(issuer, server=storage, unstarted=_slow) as made:
        begun = await ask(made, "tools/call", {"name": "slow", "arguments": {}}, issuer.mint())
        id = begun["result"]["taskId"]  # type: ignore[index]
        mine = await ask(made, "tasks/get", {"taskId": id}, issuer.mint())
        assert "result" in mine
        theirs = await ask(made, "tasks/get", {"taskId": id}, issuer.mint(sub="eve"))
        unknown = await ask(made, "tasks/get", {"taskId": "t-AAAAAAAAAAAAAAAAAAAAAA"}, issuer.mint(sub="eve"))
        assert theirs["error"] == unknown["error"]
        # A token that is bound to a key is the same person's.
        key = ProofKey.make()
        bound = issuer.bound(key)
        proof = key.proof("POST", made.url, token=bound)
        assert "result" in await ask(made, "tasks/get", {"taskId": id}, bound, proof=proof)


def _slow(server) -> None:
    @server.tool(task=TaskPolicy())
    async def slow() -> str:
        return "done"
