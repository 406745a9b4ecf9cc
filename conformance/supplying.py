"""A gateway whose configuration makes tasks of the calls of a server that knows nothing of them."""

from pathlib import Path

from trunkline.assembly.gateway import read_gateway
from trunkline.transports.http import HTTPTransport

app = HTTPTransport(read_gateway(str(Path(__file__).with_name("supplied.yaml"))).application)
