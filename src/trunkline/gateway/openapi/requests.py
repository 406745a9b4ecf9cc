"""From a call's arguments to an HTTP request.

What it is for: each argument and each credential in the place the document gives it.
What may live here: putting a request together. What may not: sending it.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote

from trunkline.gateway.openapi import encoding
from trunkline.gateway.openapi.operations import Argument, Credential, Operation
from trunkline.protocol import json

if TYPE_CHECKING:
    import aiohttp


@dataclass(slots=True)
class Request:
    """A request; `url` is encoded as it goes over the wire."""

    method: str
    url: str
    headers: dict[str, str] = field(default_factory=dict)
    body: "bytes | aiohttp.FormData | None" = None


def build(
    operation: Operation, given: Mapping[str, object], headers: Mapping[str, str], auth: Mapping[str, str]
) -> Request:
    """The request of a call. Raises `ValueError` for an argument that cannot be sent.

    Parameters:
        given: the caller's arguments, checked.
        headers: the configured ones; they win over arguments.
        auth: the configured credentials, by name of the scheme.
    """
    values = {name: value for name, value in {**given, **operation.fixed}.items() if name in operation.arguments}
    placed = [(operation.arguments[name], value) for name, value in values.items()]
    path = operation.path
    parts: list[str] = []
    cookies: list[str] = []
    sent: dict[str, str] = {}
    for argument, value in placed:
        if argument.json and argument.place in encoding.STYLES:
            value = json.encode(value).decode()
        if argument.place == "path":
            text = encoding.path(argument.name, value, argument.style, argument.explode)
            path = path.replace(f"{{{argument.name}}}", text)
        elif argument.place == "query":
            parts += encoding.query(argument.name, value, argument.style, argument.explode)
        elif argument.place == "cookie":
            cookies += encoding.query(argument.name, value, argument.style, argument.explode)
        elif argument.place == "header":
            sent[argument.name] = encoding.header(value, argument.explode)
    _check(path)
    for credential in operation.credentials:
        _sign(credential, auth[credential.scheme], sent, parts, cookies)
    if cookies:
        sent["Cookie"] = "; ".join(cookies)
    names = {name.lower() for name in headers}
    sent = {**{name: value for name, value in sent.items() if name.lower() not in names}, **headers}
    request = Request(operation.method.upper(), f"{operation.base}{path}{'?' if parts else ''}{'&'.join(parts)}", sent)
    _fill(request, operation, placed)
    return request


def _check(path: str) -> None:
    """A path stays below the API's address, and has all its parts."""
    segments = path.split("/")
    if "{" in path or any(segment.lower().replace("%2e", ".") in (".", "..") for segment in segments):
        raise ValueError("the path lacks a parameter, or would lead out of the API")


def _sign(credential: Credential, value: str, headers: dict[str, str], query: list[str], cookies: list[str]) -> None:
    if credential.place == "bearer":
        headers["Authorization"] = f"Bearer {value}"
    elif credential.place == "basic":
        headers["Authorization"] = f"Basic {base64.b64encode(value.encode()).decode()}"
    elif credential.place == "header":
        headers[credential.name] = value
    else:
        name = f"{quote(credential.name, safe='')}="
        pairs = query if credential.place == "query" else cookies
        # An argument that is an object may bring a member of this name.
        pairs[:] = [*(pair for pair in pairs if not pair.startswith(name)), name + quote(value, safe="")]


def _fill(request: Request, operation: Operation, placed: list[tuple[Argument, object]]) -> None:
    members = {argument.name: value for argument, value in placed if argument.place == "body"}
    whole = [value for argument, value in placed if argument.place == "whole"]
    flat = any(argument.place == "body" for argument in operation.arguments.values())
    if not operation.media or not (whole or members or flat):
        return
    if operation.media == "multipart/form-data":
        request.body = _form(operation, members)
        return
    request.headers["Content-Type"] = operation.media
    if operation.media == "application/x-www-form-urlencoded":
        request.body = "&".join(
            pair for name, value in members.items() for pair in encoding.query(name, value, "form", True)
        ).encode()
    elif operation.media.startswith("text/"):
        request.headers["Content-Type"] = f"{operation.media}; charset=utf-8"
        request.body = encoding.scalar(whole[0] if whole else "").encode()
    else:
        request.body = json.encode(whole[0] if whole else members)


def _form(operation: Operation, members: Mapping[str, object]) -> "aiohttp.FormData":
    import aiohttp

    form = aiohttp.FormData(default_to_multipart=True)
    for name, value in members.items():
        if name in operation.binary:
            try:
                data = base64.b64decode(encoding.scalar(value), validate=True)
            except binascii.Error:
                raise ValueError(f"the argument {name[:80]!r} is not base64") from None
            form.add_field(name, data, filename=name, content_type="application/octet-stream")
        else:
            for item in value if isinstance(value, list) else [value]:
                form.add_field(name, encoding.scalar(item))
    return form
