"""The gateway: many upstream servers behind one endpoint."""

from trunkline.gateway.face import Face
from trunkline.gateway.federation import Federation
from trunkline.gateway.status import UpstreamStatus
from trunkline.gateway.upstream import Limits

__all__ = ["Face", "Federation", "Limits", "UpstreamStatus"]
