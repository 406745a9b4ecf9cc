"""`auth` of a configuration becomes a resource server.

What it is for: what in it cannot be meant, and the authenticator it asks for.
What may live here: that step. What may not: how tokens are checked.
"""

from collections.abc import Iterator

from msgspec import structs

from trunkline.assembly.auth_settings import AuthSettings, DPoPSettings, ScopeSettings
from trunkline.assembly.servers import REFERENCE
from trunkline.auth.introspection import Introspection
from trunkline.auth.replay import Seen
from trunkline.auth.resource_server import DPoPRules, ResourceServer
from trunkline.auth.scopes import Scopes
from trunkline.errors import ConfigError
from trunkline.portable.place import Place


def auth_faults(settings: AuthSettings | None, place: Place) -> Iterator[str]:
    """What is wrong with the `auth` of a file, whatever the environment is."""
    if settings is None:
        return
    asked = settings.introspection
    if asked is not None and not REFERENCE.fullmatch(asked.client_secret):
        said = "is no reference; ${env:NAME}, ${file:PATH} and ${keyring:SERVICE/NAME} are accepted"
        yield place.at("introspection").at("client_secret").fault(said).message
    try:
        resource_server(settings)
    except ConfigError as error:
        yield place.fault(error.message).message


def resource_server(settings: AuthSettings, seen: Seen | None = None) -> ResourceServer:
    """The authenticator. Raises `ConfigError`.

    Parameters:
        settings: with the secret in place of its reference.
        seen: remembers proofs in this process, also over a change of the settings.
    """
    scopes, dpop, asked = settings.scopes, settings.dpop, settings.introspection
    rules = DPoPRules(**structs.asdict(dpop)) if isinstance(dpop, DPoPSettings) else DPoPRules(mode=dpop)
    return ResourceServer(
        settings.issuer,
        settings.audience,
        scopes=Scopes(**structs.asdict(scopes)) if isinstance(scopes, ScopeSettings) else scopes,
        dpop=rules,
        introspection=None if asked is None else Introspection(**structs.asdict(asked)),
        jwks_url=settings.jwks_url,
        keys_fresh=settings.keys_fresh,
        name=settings.name,
        allow=settings.allow,
        seen=seen if rules.replay == "process" else None,
    )
