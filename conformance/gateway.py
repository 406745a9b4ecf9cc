"""A gateway over one server, alone under its own path: names and URIs stay as the upstream has them."""

import os

from trunkline.engine.engine import Engine
from trunkline.gateway import Carrying, Federation
from trunkline.portable.model import Entry
from trunkline.runtime.application import Application
from trunkline.transports.http import HTTPTransport

upstream = Entry(name="fixture", transport="http", url=os.environ["CONFORMANCE_UPSTREAM"])
provider = Federation([upstream]).single(upstream.name)
engine = Engine(provider)
engine.extend(Carrying(provider, engine.keys).extension())
app = HTTPTransport(Application(engine))
