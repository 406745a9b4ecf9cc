"""What a configuration may say of how the gateway signs in to a remote server, and what it is told otherwise."""

import json
from pathlib import Path

import pytest
import yaml

from trunkline.assembly.plan import Remembered, make_plan
from trunkline.assembly.showing import check, show
from trunkline.auth.assertions import Signer
from trunkline.portable.auth import Auth
from trunkline.portable.read import read_document

URL = "https://mcp.example.com/mcp"
SECRET = "s3cret-of-the-gateway"


def written(folder: Path, auth: object, **more: object) -> str:
    path = folder / "trunkline.yaml"
    path.write_text(yaml.safe_dump({"servers": {"tracker": {"url": URL, "auth": auth, **more}}}))
    return str(path)


def planned(path: str) -> Auth | None:
    return make_plan(path, {"SECRET": SECRET}, Remembered(None)).entries[0].auth


def test_a_word_is_enough_for_a_person_to_sign_in(tmp_path: Path) -> None:
    assert planned(written(tmp_path, "sign-in")) == Auth()


def test_references_are_filled_in_and_shown_nowhere(tmp_path: Path) -> None:
    auth = {"grant": "client-credentials", "client_id": "gateway", "client_secret": "${env:SECRET}"}
    path = written(tmp_path, auth)
    plan = make_plan(path, {"SECRET": SECRET}, Remembered(None))
    (entry,) = plan.entries
    assert entry.auth is not None
    assert entry.auth.client_secret == SECRET
    assert SECRET in entry.secret_values
    rows = {row.key: row.value for row in show(path)}
    assert rows["servers.tracker.auth.client_secret"] == "${env:SECRET}"
    assert SECRET not in repr(plan) + repr(entry.auth) + repr(rows)


def test_a_key_comes_from_a_file_and_one_that_is_none_is_told_without_showing_it(tmp_path: Path) -> None:
    from joserfc.jwk import ECKey

    key = tmp_path / "gateway.pem"
    key.write_bytes(ECKey.generate_key("P-256").as_pem(private=True))
    auth = {"grant": "client-credentials", "client_id": "gateway", "client_key": "${file:gateway.pem}"}
    made = planned(written(tmp_path, auth))
    assert made is not None
    Signer.from_key(made.client_key or "")
    key.write_text(SECRET)
    (said,) = check(written(tmp_path, auth), {})
    assert 'server "tracker": auth:' in said
    assert SECRET not in said


WRONG = [
    ("log-in", 'server "tracker": auth: is not one of the words there are; '),
    ({"grant": "magic"}, "auth.grant: is not one of the words there are; "),
    ({"isuer": "https://id.example.com"}, 'the key "isuer" is not known; did you mean `issuer`?'),
    ({"client_id": "a", "client_secret": SECRET}, "auth.client_secret: holds a secret; refer to it"),
    ({"client_secret": "${env:SECRET}"}, "has a secret or key of a client and no `client_id`"),
    ({"grant": "client-credentials"}, "needs `client_id` for `grant: client-credentials`"),
    ({"grant": "client-credentials", "client_id": "a"}, "needs either `client_secret` or `client_key`"),
    ({"grant": "client-credentials", "per": "principal"}, "auth.per: says nothing for `grant: client-credentials`"),
    ({"grant": "workload-identity"}, "needs either `token_file` or `platform`"),
    ({"grant": "workload-identity", "platform": "azure", "audience": "api://x"}, "auth.audience: needs the `issuer`"),
    ({"grant": "enterprise-managed", "client_id": "a"}, "needs `idp` for `grant: enterprise-managed`"),
    ({"token_file": "x"}, "auth.token_file: says nothing for `grant: sign-in`"),
]


@pytest.mark.parametrize(("auth", "said"), WRONG)
def test_what_cannot_be_meant_is_told_with_its_place(tmp_path: Path, auth: object, said: str) -> None:
    found = check(written(tmp_path, auth), {"SECRET": SECRET})
    assert any(said in one for one in found), found
    assert all("trunkline.yaml:" in one for one in found)
    assert SECRET not in "".join(found)


def test_who_calls_is_said_once_and_only_of_servers_at_an_address(tmp_path: Path) -> None:
    (twice,) = check(written(tmp_path, "sign-in", headers={"authorization": "Bearer ${env:SECRET}"}), {})
    assert "and an `Authorization` header both say who calls; keep one" in twice
    path = tmp_path / "trunkline.yaml"
    path.write_text(yaml.safe_dump({"servers": {"time": {"command": "uvx", "auth": "sign-in"}}}))
    assert any("auth: is for a server at an address" in one for one in check(str(path), {}))
    path.write_text(yaml.safe_dump({"servers": {"api": {"url": URL, "transport": "openapi", "auth": "sign-in"}}}))
    assert any("the credentials by security scheme are accepted" in one for one in check(str(path), {}))


@pytest.mark.parametrize(
    "said",
    [
        {"auth": "oauth"},
        {"trunkline": {"auth": "sign-in"}},
        {"trunkline": {"auth": {"grant": "sign-in"}, "pins": "off"}},
    ],
)
def test_the_files_of_clients_say_it_too(tmp_path: Path, said: dict[str, object]) -> None:
    path = tmp_path / "mcp.json"
    path.write_text(json.dumps({"mcpServers": {"tracker": {"url": URL, **said}}}))
    (entry,) = read_document(path).entries
    assert entry.auth == Auth()
    path.write_text(json.dumps({"mcpServers": {"tracker": {"url": URL, "trunkline": {"auth": {"grant": SECRET}}}}}))
    (problem,) = read_document(path, collect=True).problems
    assert "trunkline.auth: is not one of the words there are at grant" in problem.message
    assert SECRET not in problem.message
