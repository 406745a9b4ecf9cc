"""What all tests share: no property is judged by how long an example took, and state goes to a folder of its own."""

import os
import tempfile

from hypothesis import settings

os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="trunkline-state-")

settings.register_profile("trunkline", settings.get_profile(settings.get_current_profile_name()), deadline=None)
settings.load_profile("trunkline")
