"""The tasks extension over tasks that are all kept elsewhere.

What it is for: whoever only carries tasks has the extension without a store, a worker, or anything that needs them.
What may live here: that wiring. What may not: an import of what needs a database.
"""

from typing import NoReturn

from trunkline.engine.doors import Extension
from trunkline.errors import MethodNotFound
from trunkline.extensions.tasks.carrier import Carrier
from trunkline.extensions.tasks.listening import Listeners, Listening
from trunkline.extensions.tasks.methods import Methods
from trunkline.extensions.tasks.names import IDENTIFIER, METHOD_NAMES
from trunkline.extensions.tasks.showing import unknown


def carried(carrier: Carrier) -> Extension:
    """The extension of the standard, declared as long as there is anyone who may make tasks.

    engine.extend(carried(carrier))
    """

    def nowhere() -> NoReturn:
        if not carrier.offered():
            raise MethodNotFound("Method not found: nobody here makes tasks")
        raise unknown()

    return Extension(
        IDENTIFIER,
        offered=carrier.offered,
        methods=Methods(nowhere, nowhere, carrier).table(),
        names=METHOD_NAMES,
        listen_keys=("taskIds",),
        listen=Listening(None, Listeners(), carrier).listen,
    )
