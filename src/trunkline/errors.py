"""The one exception tree.

What it is for: every error a person or a peer may meet, with its wire code, HTTP status and stable name as class facts.
What may live here: exception classes and the mapping from wire codes back to them.
What may not: anything that imports from trunkline, any text that could hold a secret.

    TrunklineError
    ├── ProtocolError              travels as a JSON-RPC error
    │   ├── ParseError             -32700  400   not JSON, or not acceptable JSON
    │   ├── InvalidRequest         -32600  400   JSON, but not a JSON-RPC message we accept
    │   │   └── Refused            -32600  4xx   HTTP that is not for this endpoint: host, origin, size, media type
    │   ├── MethodNotFound         -32601  404   the method is not served in this revision
    │   ├── InvalidParams          -32602  400   parameters missing, malformed or unknown
    │   │   └── ResourceNotFound   -32602  400   no such resource (legacy revisions: -32002)
    │   ├── InternalError          -32603  500   our own fault; the text never tells details
    │   ├── HeaderMismatch         -32020  400   routing headers and body disagree
    │   ├── MissingCapability      -32021  400   the client did not declare what this needs
    │   ├── UnsupportedVersion     -32022  400   the revision is not served here
    │   ├── Unauthenticated        -31001  401   no or no valid credentials
    │   ├── Forbidden              -31002  403   the principal may not do this
    │   ├── Overloaded             -31003  503   a bound is reached; retrying later helps
    │   ├── DeadlineExceeded       -31004  200   the call ran longer than it may
    │   ├── UpstreamUnavailable    -31005  200   an upstream cannot be reached or broke off
    │   ├── Unavailable                    503   what we need cannot be reached; retrying later helps
    │   │   ├── StorageUnavailable -31006        the database
    │   │   └── IssuerUnavailable  -31010        whoever vouches for callers
    │   ├── ReplicaLost            -31007  200   the replica that answered a call is gone
    │   ├── Interrupted            -31008  200   the server stopped while it answered
    │   ├── ToolRefused            -31009  200   a tool is not what was pinned of it
    │   └── RemoteError            any     -     an error a peer answered, carried as it came
    ├── ToolError                  the tool's own failure; becomes a result with isError
    ├── TaskCancelled              a task that was cancelled has no result
    ├── TaskExpired                a task is gone, and its result with it
    ├── SealError                  sealed state that is forged, foreign or expired
    ├── TransportError             a connection could not be made or was lost
    │   ├── RequestTimeout         no answer within the time allowed
    │   ├── HttpFailure            an HTTP answer that carries no JSON-RPC message
    │   ├── InvalidAnswer          the peer broke the protocol
    │   ├── MessageTooLong         one incoming message was dropped; the connection lives on
    │   ├── AddressRefused         an address another party named is not one to send anything to
    │   └── SignInError            signing in did not lead to a token
    │       ├── SignInRefused      the authorization server said no, and with which error
    │       └── SignInNeeded       a person has to sign in, and none is there
    └── ConfigError                a configuration that cannot be used, and why

Codes -31001 to -31010 are ours: "Error Codes" (basic/index) asks new codes to stay out of the JSON-RPC reserved range.
A slow tool or a broken upstream is answered with status 200: a load balancer must not take this replica out for it.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal


class TrunklineError(Exception):
    """Something went wrong in trunkline."""

    def __init__(self, message: str = "") -> None:
        text = message or (type(self).__doc__ or "").strip().splitlines()[0]
        # Texts of peers may hold halves of characters; every error must be tellable, in a log and on the wire.
        self.message = text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
        super().__init__(self.message)

    def __str__(self) -> str:
        # Whoever takes a secret out of the message takes it out of tracebacks as well.
        return self.message


class ProtocolError(TrunklineError):
    """The request failed.

    Parameters:
        message: what happened, to what, and what to do; shown to people.
        data: the JSON-RPC error's `data` member; JSON-encodable.
    """

    code: ClassVar[int] = -32603
    status: int = 500
    name: ClassVar[str] = "protocol_error"

    def __init__(self, message: str = "", data: object = None) -> None:
        super().__init__(message)
        self.data = data
        self.request_id: str | int | None = None

    def wire(self) -> dict[str, object]:
        """The JSON-RPC `error` member."""
        error: dict[str, object] = {"code": self.code, "message": self.message}
        if self.data is not None:
            error["data"] = self.data
        return error


class ParseError(ProtocolError):
    """The body is not acceptable JSON."""

    code = -32700
    status = 400
    name = "parse_error"


class InvalidRequest(ProtocolError):
    """The message is not a JSON-RPC request this endpoint accepts."""

    code = -32600
    status = 400
    name = "invalid_request"


class Refused(InvalidRequest):
    """The HTTP request is not acceptable here.

    Parameters:
        status: the HTTP status to answer with.
        headers: response headers the status calls for, such as `Allow`.
    """

    name = "refused"

    def __init__(self, status: int, message: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


class MethodNotFound(ProtocolError):
    """The method is not served here."""

    code = -32601
    status = 404
    name = "method_not_found"


class InvalidParams(ProtocolError):
    """The parameters are missing, malformed or name something unknown."""

    code = -32602
    status = 400
    name = "invalid_params"


class ResourceNotFound(InvalidParams):
    """There is no such resource."""

    name = "resource_not_found"

    def __init__(self, uri: str) -> None:
        super().__init__(f"Resource not found: {uri}", {"uri": uri})


class InternalError(ProtocolError):
    """The server failed while it answered; its log has the details."""

    code = -32603
    status = 500
    name = "internal_error"


class HeaderMismatch(ProtocolError):
    """A routing header is missing, malformed or differs from the body."""

    code = -32020
    status = 400
    name = "header_mismatch"


class MissingCapability(ProtocolError):
    """The client did not declare a capability this request needs."""

    code = -32021
    status = 400
    name = "missing_capability"

    def __init__(self, required: dict[str, object], message: str = "") -> None:
        names = ", ".join(sorted(required))
        super().__init__(
            message or f"This request needs client capabilities that were not declared: {names}",
            {"requiredCapabilities": required},
        )


class UnsupportedVersion(ProtocolError):
    """The protocol version is not served here."""

    code = -32022
    status = 400
    name = "unsupported_version"

    def __init__(self, requested: str, supported: tuple[str, ...]) -> None:
        super().__init__(
            f"Unsupported protocol version: {requested[:64]}",
            {"supported": list(supported), "requested": requested},
        )


class Unauthenticated(ProtocolError):
    """Credentials are missing or not valid."""

    code = -31001
    status = 401
    name = "unauthenticated"

    def __init__(self, message: str = "", headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.headers = headers


class Forbidden(ProtocolError):
    """The caller is known but may not do this.

    Parameters:
        message: what happened, to what, and what to do; shown to people.
        headers: response headers, such as the challenge that names the scopes it takes.
    """

    code = -31002
    status = 403
    name = "forbidden"

    def __init__(self, message: str = "", headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.headers = headers


class Overloaded(ProtocolError):
    """A limit is reached; the same request may succeed later.

    Parameters:
        message: what happened, to what, and what to do; shown to people.
        retry_after: seconds after which it may, if that is known.
    """

    code = -31003
    status = 503
    name = "overloaded"

    def __init__(self, message: str = "", retry_after: float | None = None) -> None:
        data = None if retry_after is None else {"dev.trunkline/retryAfterMs": max(1, round(retry_after * 1000))}
        super().__init__(message, data)
        self.retry_after = retry_after


class DeadlineExceeded(ProtocolError):
    """The call ran longer than it may and was stopped."""

    code = -31004
    status = 200
    name = "deadline_exceeded"


class UpstreamUnavailable(ProtocolError):
    """An upstream server cannot be reached or broke off."""

    code = -31005
    status = 200
    name = "upstream_unavailable"


class Unavailable(ProtocolError):
    """Something this server needs cannot be reached; try the same request again after `retry_after` seconds."""

    status = 503

    def __init__(self, message: str = "", retry_after: float = 1.0) -> None:
        super().__init__(message, {"dev.trunkline/retryAfterMs": max(1, round(retry_after * 1000))})
        self.retry_after = retry_after


class StorageUnavailable(Unavailable):
    """The database cannot be reached; what was being written may or may not have been."""

    code = -31006
    name = "storage_unavailable"


class IssuerUnavailable(Unavailable):
    """The authorization server that vouches for callers cannot be asked; nothing is known of this one."""

    code = -31010
    name = "issuer_unavailable"


class ReplicaLost(ProtocolError):
    """The process that answered this call is gone; the call may have run. Send it again if that does no harm.

    Parameters:
        message: what happened, to what, and what to do; shown to people.
        delivered: whether the call may have reached that process; when False, it has not run.
    """

    code = -31007
    status = 200
    name = "replica_lost"

    def __init__(self, message: str = "", *, delivered: bool = True) -> None:
        said = message or ("" if delivered else "The process that had to answer this call is gone; send it again")
        unsure = {"dev.trunkline/mayHaveRun": True} if delivered else {}
        super().__init__(said, {"dev.trunkline/retry": True, **unsure})
        self.delivered = delivered


class Interrupted(ProtocolError):
    """The server is stopping and waited for the request as long as it may; the request may have run in part.

    Parameters:
        method: of the request.
    """

    code = -31008
    status = 200
    name = "interrupted"

    def __init__(self, method: str) -> None:
        super().__init__(
            f"{method} was interrupted: the server is stopping. It may have run in part: send it again if that is safe",
            {"dev.trunkline/retry": True, "dev.trunkline/mayHaveRun": True},
        )


class ToolRefused(ProtocolError):
    """A tool is not what was pinned of it."""

    code = -31009
    status = 200
    name = "tool_refused"


class RemoteError(ProtocolError):
    """A peer answered with an error; it is carried as it came."""

    name = "remote_error"

    def __init__(self, code: int, message: str, data: object = None) -> None:
        super().__init__(message, data)
        self.remote_code = code
        self.remote_status = 200
        """The HTTP status it came with."""

    def wire(self) -> dict[str, object]:
        error = super().wire()
        error["code"] = self.remote_code
        return error


class ToolError(TrunklineError):
    """The tool could not do its work; the text is shown to the model."""


class TaskCancelled(TrunklineError):
    """The task was cancelled before it had a result.

    Parameters:
        message: what happened, to what, and what to do; shown to people.
        task: the task's id.
    """

    def __init__(self, message: str = "", task: str = "") -> None:
        super().__init__(message)
        self.task = task


class TaskExpired(TrunklineError):
    """The task outlived the time its server keeps it; there is no result to be had of it any more.

    Parameters:
        message: what happened, to what, and what to do; shown to people.
        task: the task's id.
        expired_at: when, an ISO 8601 time of the server; None where it does not say.
    """

    def __init__(self, message: str = "", task: str = "", expired_at: str | None = None) -> None:
        super().__init__(message)
        self.task = task
        self.expired_at = expired_at


class SealError(TrunklineError):
    """The sealed state is not ours, not for this request, or expired."""


class TransportError(TrunklineError):
    """The connection could not be made or was lost.

    Parameters:
        message: what happened, to what, and what to do; shown to people.
        delivered: whether the request may have reached the peer; when False, sending it again is always safe.
    """

    def __init__(self, message: str = "", *, delivered: bool = True) -> None:
        super().__init__(message)
        self.delivered = delivered


Limit = Literal["connect", "idle", "request", "total", "deadline"]
"""What a request may not take too long for: to connect, without anything coming, without progress, in all, and in all
because its caller does not wait longer."""


class RequestTimeout(TransportError):
    """No answer came within the time allowed.

    Parameters:
        message: what happened, to what, and what to do; shown to people.
        limit: which time it was.
        seconds: how long it was.
        delivered: see `TransportError`.
        silent: nothing at all came meanwhile.
    """

    def __init__(
        self,
        message: str = "",
        limit: Limit = "request",
        seconds: float = 0.0,
        *,
        delivered: bool = True,
        silent: bool = True,
    ) -> None:
        super().__init__(message, delivered=delivered)
        self.limit = limit
        self.seconds = seconds
        self.silent = silent


class HttpFailure(TransportError):
    """The HTTP answer is an error and carries no JSON-RPC message.

    Parameters:
        message: what happened, to what, and what to do; shown to people.
        status: the HTTP status.
        headers: the answer's headers, names in lower case (`www-authenticate`, `retry-after`).
    """

    def __init__(self, message: str, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(message, delivered=not (400 <= status < 500 or (status == 503 and _turned_away(headers))))
        self.status = status
        self.headers = headers


def _turned_away(headers: Mapping[str, str]) -> bool:
    """Whether who answers 503 did not take the request: Envoy says so of a break too (flag UC), but names no time."""
    return "retry-after" in headers or "envoy" not in headers.get("server", "").lower()


class PeerKilled(TransportError):
    """The peer's process was ended by somebody else, which says nothing of what it was sent."""


class InvalidAnswer(TransportError):
    """The peer sent something the protocol does not allow."""


class MessageTooLong(TransportError):
    """An incoming message above the limit was dropped; the connection lives on.

    Parameters:
        message: what happened, to what, and what to do; shown to people.
        head, tail: how the message began and ended, in bytes.
    """

    def __init__(self, message: str = "", head: bytes = b"", tail: bytes = b"") -> None:
        super().__init__(message)
        self.head = head
        self.tail = tail


class AddressRefused(TransportError):
    """An address that another party named is not one to send anything to."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message, delivered=False)


class SignInError(TransportError):
    """Signing in did not lead to a token; the request it was for was not carried out."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message, delivered=False)


class SignInRefused(SignInError):
    """The authorization server refused.

    Parameters:
        message: what happened, to what, and what to do; shown to people.
        error: its error code (RFC 6749, 4.1.2.1 and 5.2), such as `invalid_grant`.
        status: the HTTP status it came with; 0 where it came by way of a redirect.
    """

    def __init__(self, message: str, error: str, status: int = 0) -> None:
        super().__init__(message)
        self.error = error
        self.status = status


class SignInNeeded(SignInError):
    """A person has to sign in, and none is there."""


class ConfigError(TrunklineError):
    """The configuration cannot be used."""
