"""The server the official suite is run against: everything its scenarios name, written as any author would."""

from conformance import features, questions
from trunkline import Server

server = Server("trunkline-conformance", version="1.0.0")
features.add_to(server)
questions.add_to(server)
app = server.app
