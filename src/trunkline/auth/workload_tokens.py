"""Where platforms keep the tokens of workloads.

What it is for: Kubernetes, SPIFFE, GitHub Actions, Google Cloud and Azure, each in its own way.
What may live here: getting a token from one. What may not: what becomes of it.

A file or variable holds a token for an audience that was chosen beforehand; the endpoints make one for the audience
they are asked for. They are on the machine or next to it, and are the only plain http that leaves it: the addresses are
those of the platforms, never of another party.
"""

import asyncio
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import msgspec

from trunkline.auth.addresses import AddressRules
from trunkline.auth.fetching import Fetched, Fetcher
from trunkline.errors import ConfigError, InvalidAnswer, SignInError

_LONGEST = 64 * 1024
_SECONDS = 5.0
_TRIES = 3
_PAUSE = 0.3
_BUSY = frozenset({429, 500, 502, 503, 504})


class TokenFile:
    """A file that the platform renews; it is read again for each use, so that the token is the newest.

    Kubernetes mounts such files (projected service account tokens), Azure names one in `AZURE_FEDERATED_TOKEN_FILE`,
    EKS in `AWS_WEB_IDENTITY_TOKEN_FILE`, and spiffe-helper writes JWT-SVIDs to one.

        TokenFile("/var/run/secrets/tokens/mcp")
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)

    async def token(self, audience: str) -> str:
        """What the file holds. Raises `SignInError` where that is nothing."""
        try:
            text = (await asyncio.to_thread(self._read)).decode("ascii").strip()
        except OSError as error:
            raise SignInError(f"The token file {self._path} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            text = ""
        if not text or len(text) >= _LONGEST:
            raise SignInError(f"The token file {self._path} holds no token")
        return text

    def _read(self) -> bytes:
        with self._path.open("rb") as file:
            return file.read(_LONGEST)

    def __repr__(self) -> str:
        return f"TokenFile({self._path})"


class TokenVariable:
    """An environment variable, as GitLab sets one for each of a job's `id_tokens`.

    TokenVariable("MCP_ID_TOKEN")
    """

    def __init__(self, name: str, environment: Mapping[str, str] = os.environ) -> None:
        self._name = name
        self._environment = environment

    async def token(self, audience: str) -> str:
        """What the variable holds. Raises `SignInError` where that is nothing."""
        text = self._environment.get(self._name, "").strip()
        if not text:
            raise SignInError(f"The environment variable {self._name} of the workload's token is not set")
        return text

    def __repr__(self) -> str:
        return f"TokenVariable({self._name})"


class _GitHubAnswer(msgspec.Struct):
    value: str


class GitHubActions:
    """The identity of a GitHub Actions job; the job needs `permissions: id-token: write`.

    WorkloadIdentity(GitHubActions())
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment

    async def token(self, audience: str) -> str:
        """A token for the audience. Raises `SignInError` outside of a job that may have one, `TransportError`."""
        url = self._environment.get("ACTIONS_ID_TOKEN_REQUEST_URL", "")
        bearer = self._environment.get("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "")
        if not url or not bearer:
            raise SignInError(
                "This is no GitHub Actions job that may have a token: give it `permissions: id-token: write`"
            )
        joined = "&" if urlsplit(url).query else "?"
        address = f"{url}{joined}{urlencode({'audience': audience})}"
        answer = await _asked(address, [("Authorization", f"bearer {bearer}")])
        return answer.read(_GitHubAnswer).value

    def __repr__(self) -> str:
        return "GitHubActions()"


class GoogleIdentity:
    """The identity of a Google Cloud workload, from the metadata server of the machine.

    Parameters:
        account: the service account. host: of the metadata server; by default as Google's own libraries find it.

        WorkloadIdentity(GoogleIdentity())
    """

    def __init__(self, account: str = "default", host: str | None = None) -> None:
        self._account = account
        self._host = host or os.environ.get("GCE_METADATA_HOST") or "metadata.google.internal"

    async def token(self, audience: str) -> str:
        """A token for the audience. Raises `SignInError` where none is given, `TransportError`."""
        query = urlencode({"audience": audience, "format": "full"})
        path = f"/computeMetadata/v1/instance/service-accounts/{self._account}/identity"
        answer = await _asked(f"http://{self._host}{path}?{query}", [("Metadata-Flavor", "Google")])
        # Whatever else answers at that name, as on a network that answers every name, is not the metadata server.
        if answer.headers.get("Metadata-Flavor") != "Google":
            raise SignInError(f"{self._host} is not a metadata server of Google Cloud")
        try:
            return answer.body.decode("ascii").strip()
        except UnicodeDecodeError:
            raise InvalidAnswer(f"The metadata server {self._host} sent what is not a token") from None

    def __repr__(self) -> str:
        return f"GoogleIdentity({self._account})"


class _AzureAnswer(msgspec.Struct):
    access_token: str


class AzureIdentity:
    """The managed identity of an Azure workload, from the metadata service of the machine or of App Service.

    Audiences are application ids of Entra there (`api://…`), so `WorkloadIdentity` needs one, and the issuer.

    Parameters:
        client_id: which of several identities; None for the machine's own.
        host: of the metadata service of virtual machines.

        WorkloadIdentity(AzureIdentity(), audience="api://mcp", issuer="https://id.example.com")
    """

    def __init__(
        self,
        client_id: str | None = None,
        host: str = "169.254.169.254",
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._client_id = client_id
        self._host = host
        self._environment = environment

    async def token(self, audience: str) -> str:
        """A token for the audience. Raises `SignInError` where none is given, `TransportError`."""
        endpoint, secret = (self._environment.get(name, "") for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER"))
        given = {} if self._client_id is None else {"client_id": self._client_id}
        if endpoint and secret:
            query = urlencode({"resource": audience, "api-version": "2019-08-01", **given})
            answer = await _asked(f"{endpoint}?{query}", [("X-IDENTITY-HEADER", secret)])
        else:
            query = urlencode({"resource": audience, "api-version": "2018-02-01", **given})
            answer = await _asked(f"http://{self._host}/metadata/identity/oauth2/token?{query}", [("Metadata", "true")])
        return answer.read(_AzureAnswer).access_token

    def __repr__(self) -> str:
        return f"AzureIdentity({self._client_id or ''})"


async def _asked(url: str, headers: Iterable[tuple[str, str]]) -> Fetched:
    """Ask a platform's own endpoint, again where it is busy: they all say that clients should."""
    parts = urlsplit(url)
    try:
        rules = AddressRules.around(None, [f"{parts.scheme}://{parts.netloc}"])
    except ConfigError:
        raise SignInError("The address of the platform's token endpoint, from the environment, is none") from None
    fetcher = Fetcher(rules, seconds=_SECONDS, limit=_LONGEST)
    for attempt in range(_TRIES):
        answer = await fetcher.get(url, headers)
        if answer.status not in _BUSY:
            break
        if attempt < _TRIES - 1:
            await asyncio.sleep(_PAUSE * 2**attempt)
    if answer.status != 200:
        raise SignInError(
            f"{parts.hostname} gave no token for this workload (status {answer.status}): it may have no identity, or "
            "not for this audience"
        )
    return answer
