"""What callers are told when an upstream does not do its part.

What it is for: every failure of an upstream becomes one error that names it and says whether trying again helps.
What may live here: the mapping from what went wrong to what is said. What may not: recovery.
"""

from collections.abc import Sequence

from trunkline import errors
from trunkline.client.repeating import asked_wait
from trunkline.errors import (
    HttpFailure,
    InvalidAnswer,
    ProtocolError,
    RemoteError,
    RequestTimeout,
    SignInError,
    ToolRefused,
    TransportError,
    UpstreamUnavailable,
)
from trunkline.gateway.pins import reason

UPSTREAM_KEY = "dev.trunkline/upstream"
RETRY_KEY = "dev.trunkline/retry"
TIMEOUT_KEY = "dev.trunkline/timeout"
"""Members of an error's `data`: the upstream's name, whether sending the request again may help, which time was up."""

RAN_KEY = "dev.trunkline/mayHaveRun"
"""Another: nobody knows how far the call came; whoever knows that it may run twice may send it again."""

AFTER_KEY = "dev.trunkline/retryAfterMs"
"""Another: milliseconds before which sending the request again is vain."""

CHANGED_KEY = "dev.trunkline/changed"
"""The parts of a tool's definition that are not what was pinned."""

_OURS: dict[int, tuple[str, bool]] = {
    errors.ParseError.code: ("could not read our request", False),
    errors.InvalidRequest.code: ("did not accept our request", False),
    errors.HeaderMismatch.code: ("says that headers and body of our request disagree", False),
    errors.UnsupportedVersion.code: ("does not speak our protocol revision", False),
    errors.Unauthenticated.code: ("does not accept the credentials it is configured with", False),
    errors.Forbidden.code: ("does not let the configured credentials do this", False),
    errors.Overloaded.code: ("is overloaded", True),
    errors.Interrupted.code: ("is restarting", True),
}
"""Error codes that speak of the hop between gateway and upstream; to a client they would seem to speak of its own."""

_LEGACY_RESOURCE_NOT_FOUND = -32002


def unavailable(upstream: str, what: str, *, retry: bool, wait: float | None = None) -> UpstreamUnavailable:
    """The error "upstream NAME WHAT".

    Parameters:
        retry: whether sending the request again may help.
        wait: seconds the upstream wants to be left alone, where it said so.
    """
    data: dict[str, object] = {UPSTREAM_KEY: upstream, RETRY_KEY: retry}
    if retry and wait is not None:
        data[AFTER_KEY] = round(wait * 1000)
    return UpstreamUnavailable(f"upstream {upstream} {what}", data)


def refused(upstream: str, tool: str, parts: Sequence[str]) -> ToolRefused:
    """For a call of a tool that is not what was pinned.

    Parameters:
        tool: the upstream's own name.
        parts: what changed; nothing where the tool is not pinned at all.
    """
    why = f"its {reason(parts)} since it was pinned" if parts else "it is not pinned"
    return ToolRefused(
        f"tool {tool[:100]!r} of upstream {upstream} is refused: {why}. Whoever runs this gateway can look at it and "
        "accept it with `trunkline pin`",
        {UPSTREAM_KEY: upstream, RETRY_KEY: False, CHANGED_KEY: list(parts)},
    )


def from_transport(upstream: str, method: str, error: TransportError, repeatable: bool = False) -> UpstreamUnavailable:
    """For a request that got no answer, or none that can be used.

    Trying again helps where the request was not delivered, or does no harm when it runs twice; it does not when the
    upstream answers nonsense or refuses the credentials.

    Parameters:
        repeatable: the request does no harm when it runs twice.
    """
    if isinstance(error, RequestTimeout):
        return _timed_out(upstream, method, error, repeatable)
    refused = isinstance(error, HttpFailure) and 400 <= error.status < 500 and error.status not in (408, 425, 429)
    hopeless = isinstance(error, InvalidAnswer | SignInError) or refused
    unsure = method == "tools/call" and error.delivered and not hopeless
    said = "" if not unsure or repeatable or "may have run" in error.message else "; the call may have run"
    failure = unavailable(
        upstream,
        f"failed at {method}: {error.message}{said}",
        retry=not hopeless and (not unsure or repeatable),
        wait=asked_wait(error),
    )
    assert isinstance(failure.data, dict)
    if unsure and not repeatable:
        failure.data[RAN_KEY] = True
    return failure


def _timed_out(upstream: str, method: str, error: RequestTimeout, repeatable: bool) -> UpstreamUnavailable:
    """A call that took all the time it may have will not take less the next time; silence may end."""
    ran = error.delivered
    said = "; the call may have run" if ran and method == "tools/call" and not repeatable else ""
    whole = error.limit in ("total", "deadline")
    key = "" if error.limit == "deadline" else f" ({error.limit}_timeout)"
    failure = unavailable(
        upstream,
        f"timed out at {method}: {error.message}{key}{said}",
        retry=not ran or (not whole and (repeatable or method != "tools/call")),
    )
    assert isinstance(failure.data, dict)
    failure.data[TIMEOUT_KEY] = error.limit
    if ran and not whole and method == "tools/call" and not repeatable:
        failure.data[RAN_KEY] = True
    return failure


def from_remote(upstream: str, method: str, uri: str | None, error: RemoteError) -> ProtocolError:
    """For an error the upstream answered: as it came, unless it speaks of our hop or of a resource.

    Parameters:
        uri: what the client called the resource, for `resources/read`.
    """
    ours = _OURS.get(error.remote_code)
    if ours is not None:
        what, retry = ours
        failure = unavailable(upstream, f"{what}: {error.message}", retry=retry, wait=asked_wait(error))
        if error.remote_code == errors.Interrupted.code and method == "tools/call":
            assert isinstance(failure.data, dict)
            failure.data[RAN_KEY] = True
        return failure
    if uri is not None and _is_missing_resource(error):
        return errors.ResourceNotFound(uri)
    return error


def _is_missing_resource(error: RemoteError) -> bool:
    """Both eras' ways of saying it: -32002, and -32602 with the URI (SEP-2164)."""
    if error.remote_code == _LEGACY_RESOURCE_NOT_FOUND:
        return True
    return error.remote_code == errors.InvalidParams.code and isinstance(error.data, dict) and "uri" in error.data
