"""A production runtime for the Model Context Protocol."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trunkline.auth.assertions import Signer
    from trunkline.auth.client_authentication import KeyClient, PublicClient, SecretClient
    from trunkline.auth.client_credentials import ClientCredentials
    from trunkline.auth.enterprise import EnterpriseManaged, IdentityProvider
    from trunkline.auth.httpx_auth import httpx_auth
    from trunkline.auth.introspection import Introspection
    from trunkline.auth.oauth import OAuth
    from trunkline.auth.resource_server import DPoPRules, ResourceServer
    from trunkline.auth.scopes import Scopes
    from trunkline.auth.signin import SignIn
    from trunkline.auth.static import StaticTokens
    from trunkline.auth.workload import WorkloadIdentity
    from trunkline.auth.workload_tokens import AzureIdentity, GitHubActions, GoogleIdentity, TokenFile
    from trunkline.client.changes import Change
    from trunkline.client.client import Client
    from trunkline.client.eras import EraMemory
    from trunkline.client.inputs import ElicitAnswer, ElicitRequest, SampleRequest, accept_defaults
    from trunkline.client.reports import LogMessage
    from trunkline.client.results import CallResult
    from trunkline.client.tasks import TaskHandle
    from trunkline.engine.context import ROOTS, Context, Elicited, elicitation, sampling
    from trunkline.engine.doors import Extension, InputRequest
    from trunkline.engine.principal import Principal
    from trunkline.engine.sealed import Keys
    from trunkline.errors import (
        ConfigError,
        DeadlineExceeded,
        Forbidden,
        HttpFailure,
        InvalidAnswer,
        InvalidParams,
        IssuerUnavailable,
        MissingCapability,
        Overloaded,
        ProtocolError,
        RemoteError,
        RequestTimeout,
        ResourceNotFound,
        SignInError,
        SignInNeeded,
        SignInRefused,
        TaskCancelled,
        TaskExpired,
        ToolError,
        TransportError,
        TrunklineError,
        Unauthenticated,
        UpstreamUnavailable,
    )
    from trunkline.extensions.tasks.policy import Retry, TaskPolicy
    from trunkline.extensions.tasks.polling import TaskState
    from trunkline.extensions.tasks.worker import Pace
    from trunkline.server.completion import Completed
    from trunkline.server.content import (
        Annotations,
        Audio,
        Contents,
        EmbeddedResource,
        Image,
        Message,
        ResourceLink,
        Text,
        ToolResult,
    )
    from trunkline.server.server import Server
    from trunkline.server.signature import Header
    from trunkline.transports.http import Limits

_HOMES = {
    "Annotations": "trunkline.server.content",
    "Audio": "trunkline.server.content",
    "AzureIdentity": "trunkline.auth.workload_tokens",
    "CallResult": "trunkline.client.results",
    "Change": "trunkline.client.changes",
    "Client": "trunkline.client.client",
    "ClientCredentials": "trunkline.auth.client_credentials",
    "Completed": "trunkline.server.completion",
    "ConfigError": "trunkline.errors",
    "Contents": "trunkline.server.content",
    "Context": "trunkline.engine.context",
    "DPoPRules": "trunkline.auth.resource_server",
    "DeadlineExceeded": "trunkline.errors",
    "ElicitAnswer": "trunkline.client.inputs",
    "ElicitRequest": "trunkline.client.inputs",
    "Elicited": "trunkline.engine.context",
    "EmbeddedResource": "trunkline.server.content",
    "EnterpriseManaged": "trunkline.auth.enterprise",
    "EraMemory": "trunkline.client.eras",
    "Extension": "trunkline.engine.doors",
    "Forbidden": "trunkline.errors",
    "GitHubActions": "trunkline.auth.workload_tokens",
    "GoogleIdentity": "trunkline.auth.workload_tokens",
    "Header": "trunkline.server.signature",
    "HttpFailure": "trunkline.errors",
    "IdentityProvider": "trunkline.auth.enterprise",
    "Image": "trunkline.server.content",
    "InputRequest": "trunkline.engine.doors",
    "Introspection": "trunkline.auth.introspection",
    "InvalidAnswer": "trunkline.errors",
    "InvalidParams": "trunkline.errors",
    "IssuerUnavailable": "trunkline.errors",
    "KeyClient": "trunkline.auth.client_authentication",
    "Keys": "trunkline.engine.sealed",
    "Limits": "trunkline.transports.http",
    "LogMessage": "trunkline.client.reports",
    "Message": "trunkline.server.content",
    "MissingCapability": "trunkline.errors",
    "OAuth": "trunkline.auth.oauth",
    "Overloaded": "trunkline.errors",
    "Pace": "trunkline.extensions.tasks.worker",
    "Principal": "trunkline.engine.principal",
    "ProtocolError": "trunkline.errors",
    "PublicClient": "trunkline.auth.client_authentication",
    "ROOTS": "trunkline.engine.context",
    "RemoteError": "trunkline.errors",
    "RequestTimeout": "trunkline.errors",
    "ResourceLink": "trunkline.server.content",
    "ResourceNotFound": "trunkline.errors",
    "ResourceServer": "trunkline.auth.resource_server",
    "Retry": "trunkline.extensions.tasks.policy",
    "SampleRequest": "trunkline.client.inputs",
    "Scopes": "trunkline.auth.scopes",
    "SecretClient": "trunkline.auth.client_authentication",
    "Server": "trunkline.server.server",
    "SignIn": "trunkline.auth.signin",
    "SignInError": "trunkline.errors",
    "SignInNeeded": "trunkline.errors",
    "SignInRefused": "trunkline.errors",
    "Signer": "trunkline.auth.assertions",
    "StaticTokens": "trunkline.auth.static",
    "TaskCancelled": "trunkline.errors",
    "TaskExpired": "trunkline.errors",
    "TaskHandle": "trunkline.client.tasks",
    "TaskPolicy": "trunkline.extensions.tasks.policy",
    "TaskState": "trunkline.extensions.tasks.polling",
    "Text": "trunkline.server.content",
    "TokenFile": "trunkline.auth.workload_tokens",
    "ToolError": "trunkline.errors",
    "ToolResult": "trunkline.server.content",
    "TransportError": "trunkline.errors",
    "TrunklineError": "trunkline.errors",
    "Unauthenticated": "trunkline.errors",
    "UpstreamUnavailable": "trunkline.errors",
    "WorkloadIdentity": "trunkline.auth.workload",
    "accept_defaults": "trunkline.client.inputs",
    "elicitation": "trunkline.engine.context",
    "httpx_auth": "trunkline.auth.httpx_auth",
    "sampling": "trunkline.engine.context",
}

__all__ = [
    "ROOTS",
    "Annotations",
    "Audio",
    "AzureIdentity",
    "CallResult",
    "Change",
    "Client",
    "ClientCredentials",
    "Completed",
    "ConfigError",
    "Contents",
    "Context",
    "DPoPRules",
    "DeadlineExceeded",
    "ElicitAnswer",
    "ElicitRequest",
    "Elicited",
    "EmbeddedResource",
    "EnterpriseManaged",
    "EraMemory",
    "Extension",
    "Forbidden",
    "GitHubActions",
    "GoogleIdentity",
    "Header",
    "HttpFailure",
    "IdentityProvider",
    "Image",
    "InputRequest",
    "Introspection",
    "InvalidAnswer",
    "InvalidParams",
    "IssuerUnavailable",
    "KeyClient",
    "Keys",
    "Limits",
    "LogMessage",
    "Message",
    "MissingCapability",
    "OAuth",
    "Overloaded",
    "Pace",
    "Principal",
    "ProtocolError",
    "PublicClient",
    "RemoteError",
    "RequestTimeout",
    "ResourceLink",
    "ResourceNotFound",
    "ResourceServer",
    "Retry",
    "SampleRequest",
    "Scopes",
    "SecretClient",
    "Server",
    "SignIn",
    "SignInError",
    "SignInNeeded",
    "SignInRefused",
    "Signer",
    "StaticTokens",
    "TaskCancelled",
    "TaskExpired",
    "TaskHandle",
    "TaskPolicy",
    "TaskState",
    "Text",
    "TokenFile",
    "ToolError",
    "ToolResult",
    "TransportError",
    "TrunklineError",
    "Unauthenticated",
    "UpstreamUnavailable",
    "WorkloadIdentity",
    "accept_defaults",
    "elicitation",
    "httpx_auth",
    "sampling",
]


def __getattr__(name: str) -> object:
    """Public names are imported when first used (PEP 562), so that a command starts fast."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'trunkline' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
