"""The probes `/livez` and `/readyz`: what balancers and supervisors ask.

What it is for: whether to restart this process, and whether to send it requests.
What may live here: those two answers. What may not: anything a stranger should not know: whoever reaches us may ask.

Neither Host nor Origin is looked at: a kubelet asks by the pod's address, and a page that gets at the answer by
rebinding a name learns one word. There are no CORS headers, so that other pages cannot read even that.
"""

from trunkline.protocol import json
from trunkline.runtime.application import Application
from trunkline.transports.asgi import Scope, Send, respond

LIVE = "/livez"
READY = "/readyz"

_HEADERS = [(b"cache-control", b"no-store")]


async def probe(application: Application, scope: Scope, send: Send) -> None:
    """Answer one of the two: 200 or 503, and a JSON object that says why."""
    if scope["method"] not in ("GET", "HEAD"):
        await respond(send, 405, headers=[*_HEADERS, (b"allow", b"GET, HEAD")])
        return
    if scope["path"].endswith(LIVE):
        status, body = 200, {"status": "alive"}
    else:
        phase = application.phase
        reports = {name: told for name, report in application.reports.items() if (told := report()) is not None}
        status, body = (200 if phase == "ready" else 503), {**reports, "status": phase}
    await respond(send, status, json.encode(body), _HEADERS)
