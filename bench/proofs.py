"""Budget 4: what a checked proof costs, beside its signature alone."""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable

from bench.report import Budget, Spread
from bench.signing import AUDIENCE, ISSUER, Known, access_token
from trunkline.auth.dpop import Nonces, Verifier
from trunkline.auth.proofs import ProofKey, token_hash
from trunkline.auth.replay import LocalWindow, SharedWindow
from trunkline.auth.resource_server import DPoPRules, ResourceServer
from trunkline.auth.signed import signature_holds
from trunkline.engine.doors import RequestFacts
from trunkline.engine.sealed import Keys
from trunkline.transports.stored import Stored

_TURN = 20

Check = Callable[[str], Awaitable[object]]


def measure(passes: int, count: int) -> Budget:
    """Check the same number of fresh proofs in each way, pass after pass, in this process."""
    return asyncio.run(_measure(passes, count))


async def _measure(passes: int, count: int) -> Budget:
    budget = Budget("4", "a DPoP proof (ES256) on every request, in one process")
    key, clock = ProofKey.make(), time.process_time
    token = access_token(key.thumbprint)
    with tempfile.TemporaryDirectory() as folder:
        stored = Stored(f"sqlite:///{folder}/proofs.db")
        await stored.start()
        ways = _ways(key, token, stored)
        rounds: list[dict[str, float]] = []
        for _ in range(passes):
            found = dict.fromkeys(ways, 0.0)
            # In turns, so that a busy moment of the machine falls on all of them.
            for _ in range(count // _TURN):
                for name, check in ways.items():
                    proofs = [key.proof("POST", AUDIENCE, token=token) for _ in range(_TURN)]
                    begun = clock()
                    for proof in proofs:
                        await check(proof)
                    found[name] += (clock() - begun) / count * 1e6
            rounds.append(found)
        await stored.stop()
    for name in ways:
        cpu = Spread.of([found[name] for found in rounds])
        budget.add(f"{name}: CPU us", cpu)
        print(f"  {name:31} {cpu.middle:8.1f} CPU us ({cpu.least:.1f}..{cpu.most:.1f})")
    ratio = Spread.of([found["proof and window"] / found["signature"] for found in rounds]).middle
    budget.hold("proof and window, of the signature", ratio, most=1.3)
    return budget


def _ways(key: ProofKey, token: str, stored: Stored) -> dict[str, Check]:
    from joserfc.jwk import ECKey

    public = ECKey.import_key(dict(key.public_jwk))
    hashed = token_hash(token)
    verifier = Verifier(300, Nonces(Keys, AUDIENCE), required=False)
    local, shared = LocalWindow(), SharedWindow(stored.notes, 600)
    resource = ResourceServer(ISSUER, AUDIENCE, scopes=["mcp"], dpop=DPoPRules())
    resource._keys = Known()  # type: ignore[assignment]

    async def signature(proof: str) -> object:
        assert signature_holds(proof, public, "ES256") is not None
        return None

    async def window(proof: str) -> object:
        found = verifier.check(proof, "POST", AUDIENCE, hashed, time.time())
        assert await local.first(found.thumbprint, found.id, found.made + 300, time.time())
        return None

    async def replicas(proof: str) -> object:
        found = verifier.check(proof, "POST", AUDIENCE, hashed, time.time())
        assert await shared.first(found.thumbprint, found.id, found.made + 300, time.time())
        return None

    async def request(proof: str) -> object:
        headers = {b"authorization": b"DPoP " + token.encode(), b"dpop": proof.encode()}
        return await resource.authenticate(RequestFacts("POST", AUDIENCE, headers, b"", "/mcp", []))

    return {"signature": signature, "proof and window": window, "a whole request": request, "shared window": replicas}
