"""The gateway: many upstream servers behind one endpoint."""

from trunkline.gateway.carrying import Carrying
from trunkline.gateway.endpoint import Endpoint
from trunkline.gateway.face import ALONE, Face
from trunkline.gateway.federation import Federation
from trunkline.gateway.limits import Limits
from trunkline.gateway.progressive import ProgressiveEngine
from trunkline.gateway.selection import EVERYTHING, Edit, Selection
from trunkline.gateway.status import UpstreamStatus

__all__ = [
    "ALONE",
    "EVERYTHING",
    "Carrying",
    "Edit",
    "Endpoint",
    "Face",
    "Federation",
    "Limits",
    "ProgressiveEngine",
    "Selection",
    "UpstreamStatus",
]
