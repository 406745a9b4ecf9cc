"""The server the official suite is run against: everything its scenarios name, written as any author would."""

import os
from pathlib import Path

from conformance import features, questions, tasks
from trunkline import Server
from trunkline.transports.sealing import FollowedKeys

# Where it is one of several replicas, they share a database and keys.
storage, keys = os.environ.get("CONFORMANCE_STORAGE"), os.environ.get("CONFORMANCE_KEYS")
ring = FollowedKeys(Path(keys)) if keys else None

server = Server("trunkline-conformance", version="1.0.0", storage=storage, keys=ring)
if ring is not None:
    ring.follow_with(server.application)
features.add_to(server)
questions.add_to(server)
tasks.add_to(server)
app = server.app
