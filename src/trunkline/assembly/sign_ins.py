"""Where the gateway keeps its sign-ins at upstreams.

What it is for: the store that `trunkline login` writes and the running gateway reads is the same one.
What may live here: that choice, and what an operator is told. What may not: how signing in works.
"""

import shlex

from trunkline.assembly.plan import Plan
from trunkline.auth.keeping import system_store
from trunkline.gateway.credentials import Accounts


def accounts(plan: Plan) -> Accounts:
    """The gateway's credentials at its upstreams."""
    config = shlex.quote(plan.settings.path)
    return Accounts(system_store(), lambda name: f"trunkline login {shlex.quote(name)} --config {config}")
