"""A server of a revision before 2026-07-28, over stdio and by hand: `python older.py REVISION [LEDGER]`.

It can wait, die, and ask a person in the middle of a call. The ledger is told of calls that say which one they are.
"""

import json
import os
import sys
import time
from pathlib import Path

REVISION = sys.argv[1]
OBJECT = {"type": "object"}
TOOLS = [
    {"name": "wait", "inputSchema": OBJECT},
    {"name": "ask", "inputSchema": OBJECT},
    {"name": "name", "inputSchema": OBJECT, "annotations": {"idempotentHint": True}},
    {"name": "die_once", "inputSchema": OBJECT},
    {"name": "die_once_safely", "inputSchema": OBJECT, "annotations": {"idempotentHint": True}},
]
ASK = {"message": "Who?", "requestedSchema": {"type": "object", "properties": {"name": {"type": "string"}}}}


def write(message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def text(words):
    return {"content": [{"type": "text", "text": words}]}


def note(given, what):
    if "n" in given:
        file = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, f"{given['n']} {what}\n".encode())
        os.close(file)


def call(name, given):
    if name == "wait":
        time.sleep(given["seconds"])
        return text(f"waited in {REVISION}")
    if name in ("ask", "name"):
        note(given, "run -")
        write({"id": "q", "method": "elicitation/create", "params": ASK})
        person = json.loads(sys.stdin.readline())["result"]["content"]["name"]
        note(given, f"told {person}")
        return text(f"Hello, {person}!" if name == "ask" else person)
    with Path(given["ledger"]).open("a") as ledger:
        ledger.write("began\n")
    if Path(given["ledger"]).read_text().count("\n") == 1:
        os._exit(1)
    return text("alive")


for line in sys.stdin:
    message = json.loads(line)
    id, method = message.get("id"), message.get("method")
    if method == "initialize":
        own = {"name": "older", "version": "1"}
        write({"id": id, "result": {"protocolVersion": REVISION, "capabilities": {"tools": {}}, "serverInfo": own}})
    elif method == "tools/list":
        write({"id": id, "result": {"tools": TOOLS}})
    elif method == "tools/call":
        write({"id": id, "result": call(message["params"]["name"], message["params"].get("arguments", {}))})
    elif id is not None:
        write({"id": id, "error": {"code": -32601, "message": "Method not found"}})
