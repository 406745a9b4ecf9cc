"""A stdio server that misbehaves towards stdout, for tests: run as `python -m tests.transports.stage_stdio`."""

import asyncio
import ctypes
import os
import subprocess
import sys

from tests.transports.fixture import Stage, application_of, text
from trunkline.engine.context import Context
from trunkline.engine.doors import Result
from trunkline.transports.stdio import serve_stdio


async def shout(context: Context) -> Result:
    """Print in every way there is."""
    print("printed by Python")
    os.write(1, b"written to descriptor 1\n")
    subprocess.run(["echo", "echoed by a child"], check=True)
    libc = ctypes.CDLL(None)
    libc.puts(b"put by C")
    libc.fflush(None)
    sys.stdout.flush()
    return text(f"shouted, read {sys.stdin.read()!r}")


async def pid(context: Context) -> Result:
    return text(os.getpid())


stage = Stage()
stage.tools["shout"] = shout
stage.tools["pid"] = pid
if __name__ == "__main__":
    if "--uvloop" in sys.argv:
        import uvloop

        uvloop.run(serve_stdio(application_of(stage)))
    else:
        asyncio.run(serve_stdio(application_of(stage)))
