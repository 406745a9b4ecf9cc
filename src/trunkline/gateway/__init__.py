"""The gateway: many upstream servers behind one endpoint."""

from trunkline.gateway.face import Face
from trunkline.gateway.federation import Federation
from trunkline.gateway.limits import Limits
from trunkline.gateway.status import UpstreamStatus

__all__ = ["Face", "Federation", "Limits", "UpstreamStatus"]
