"""Tasks of upstreams, as what is said of them travels.

What it is for: what an upstream may say of a task, and how it reads for a client that knows the task by another id.
What may live here: pure functions over results and errors. What may not: ids (`carrying.py`), requests.
"""

import re
from collections.abc import Callable, Mapping

from trunkline.engine.doors import Result
from trunkline.errors import InternalError, InvalidAnswer, ProtocolError, RemoteError
from trunkline.extensions.tasks import polling
from trunkline.gateway import rewriting
from trunkline.gateway.failures import from_remote
from trunkline.gateway.masking import Mask, mapped
from trunkline.gateway.relaying import CARRIED, checked
from trunkline.portable.model import Entry
from trunkline.protocol.messages import SERVER_INFO_KEY, SUBSCRIPTION_KEY

ID = 512
"""Characters an upstream's task id may have: the one clients know is about 4/3 as long, and is sent as a header."""

_OUTCOME = ("result", "error", "inputRequests")


def failure_of(error: Mapping[str, object]) -> tuple[int, str, object]:
    """Code, message and data of the error of a task that failed."""
    code, message = error.get("code"), error.get("message")
    if not isinstance(code, int) or isinstance(code, bool) or not isinstance(message, str):
        return InternalError.code, "The task failed without an error that can be read", None
    return code, message, error.get("data")


def kept_by(capabilities: Mapping[str, object] | None, entry: Entry) -> bool:
    """Whether an upstream may make tasks that later requests find again: a process for one call alone keeps none."""
    return capabilities is not None and polling.makes_tasks(capabilities) and entry.processes != "per-call"


def remembers_keys(capabilities: Mapping[str, object] | None, entry: Entry) -> bool:
    """Whether an upstream finds the task of a call that is sent again with the same idempotency key."""
    return capabilities is not None and kept_by(capabilities, entry) and polling.honours_keys(capabilities)


def made(result: Result) -> Result:
    """A `CreateTaskResult` a client can use. Raises `InvalidAnswer` for one that it cannot."""
    id = polling.created(result).id
    if len(id) > ID or not id.isprintable():
        raise InvalidAnswer(f"it made a task under an id of {len(id)} characters that cannot be used")
    # What ended a task, and what it asks, `tasks/get` alone tells.
    return _ours({key: value for key, value in result.items() if key not in _OUTCOME})


def seen(method: str, id: object, result: Result) -> Result:
    """The answer to a request about a task, as a client can use it. Raises `InvalidAnswer`.

    Parameters:
        id: the task's, as the upstream knows it.
    """
    if method != "tasks/get":
        return {}
    state = polling.detailed(result, str(id))
    for request in state.requests.values():
        asked = request.get("method") if isinstance(request, dict) else None
        if asked not in CARRIED:
            raise InvalidAnswer("its task asks for something no client knows")
    if state.result is not None:
        result = {**result, "result": checked("tools/call", state.result)}
    return _ours({**result, "resultType": "complete"})


class View:
    """What a client reads of one upstream's task.

    Parameters:
        upstream: its name.
        own, shown: the id as the upstream knows it, and as the client does.
        expose: an upstream's URI in, the one clients know out.
        mask: takes out secrets.
    """

    def __init__(self, upstream: str, own: str, shown: str, expose: Callable[[str], str], mask: Mask) -> None:
        self._upstream = upstream
        # Only where it stands for itself: a short one may occur in any word.
        self._own = re.compile(rf"(?<![\w-]){re.escape(own)}(?![\w-])")
        self._shown = shown
        self._expose = expose
        self._mask = mask

    def task(self, result: Mapping[str, object]) -> Result:
        """A task, of `tasks/get` or a notification, or one that was just made."""
        seen = {**result, "taskId": self._shown}
        message, ended, error = result.get("statusMessage"), result.get("result"), result.get("error")
        if isinstance(message, str):
            seen["statusMessage"] = self._renamed(self._mask.text(message))
        if isinstance(ended, dict):
            seen["result"] = rewriting.call_result(ended, self._expose)
        if isinstance(error, dict):
            seen["error"] = self._failure(error)
        return seen

    def error(self, error: RemoteError) -> RemoteError:
        """An error about it, in the client's words."""
        told = RemoteError(error.remote_code, self._renamed(error.message), mapped(error.data, self._renamed))
        told.remote_status = error.remote_status
        return told

    def _failure(self, error: Mapping[str, object]) -> dict[str, object]:
        """The error of a task that failed: the one its call would have had (tasks, section 4)."""
        failure = RemoteError(*failure_of(error))
        self._mask.hide(failure)
        said: ProtocolError = from_remote(self._upstream, "tools/call", None, self.error(failure))
        return said.wire()

    def _renamed(self, text: str) -> str:
        return self._own.sub(lambda _: self._shown, text)


def _ours(result: Result) -> Result:
    """Without what is of the upstream's hop."""
    meta = result.get("_meta")
    if isinstance(meta, dict) and (SERVER_INFO_KEY in meta or SUBSCRIPTION_KEY in meta):
        kept = {key: value for key, value in meta.items() if key not in (SERVER_INFO_KEY, SUBSCRIPTION_KEY)}
        return {**result, "_meta": kept}
    return result
