"""Which addresses of others are requested: the attacks, and what stays possible."""

from ipaddress import ip_address

import pytest
from yarl import URL

from trunkline.auth.addresses import AddressRules
from trunkline.errors import AddressRefused, ConfigError

PUBLIC = AddressRules.around("https://mcp.example.com/mcp")
LOCAL = AddressRules.around("http://127.0.0.1:8808/mcp")


@pytest.mark.parametrize(
    "url",
    [
        "http://idp.example.com/token",
        "http://localhost:8080/token",
        "file:///etc/passwd",
        "ftp://idp.example.com/",
        "gopher://idp.example.com/",
        "//idp.example.com/",
        "idp.example.com/token",
        "",
        "https://",
        "https://user:secret@idp.example.com/",
        "https://idp.example.com\\@evil.example/",
        "https://idp.example.com /",
        "https://idp.example.com/\r\nX: y",
        "https://idp\u0435.example.com/",
        "https://idp.example.com:99999/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[2002:7f00:1::]/",
        "https://10.0.0.1/",
        "https://172.16.0.1/",
        "https://192.168.1.1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://100.100.100.200/",
        "https://[fd00:ec2::254]/",
        "https://[fe80::1]/",
        "https://0.0.0.0/",
        "https://224.0.0.1/",
        "https://255.255.255.255/",
    ],
)
def test_a_remote_server_cannot_make_the_client_ask_what_only_this_machine_reaches(url: str) -> None:
    with pytest.raises(AddressRefused) as refusal:
        PUBLIC.checked(url)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("url", ["https://idp.example.com/token", "https://8.8.8.8/token", "https://[2606:4700::1]/"])
def test_public_addresses_over_https_are_requested(url: str) -> None:
    assert str(PUBLIC.checked(url)) == url


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.9.9.9", "::1", "10.1.2.3", "169.254.169.254", "::ffff:10.0.0.1", "64:ff9b::a00:1", "ff02::1"],
)
def test_a_name_that_resolves_to_what_is_not_public_is_not_connected_to(host: str) -> None:
    assert not PUBLIC.permits(URL("https://idp.example.com/"), ip_address(host))


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/x", "http://localhost:9/x", "http://[::1]:9/x", "https://a.b/"])
def test_a_server_on_loopback_may_name_loopback(url: str) -> None:
    assert LOCAL.checked(url)
    assert LOCAL.permits(URL("http://localhost:9/x"), ip_address("127.0.0.1"))


@pytest.mark.parametrize("url", ["http://idp.example.com/", "http://10.0.0.1/", "https://10.0.0.1/", "http://127.1/"])
def test_a_server_on_loopback_may_name_nothing_else_that_is_not_public(url: str) -> None:
    with pytest.raises(AddressRefused):
        LOCAL.checked(url)


def test_what_is_allowed_is_allowed_and_no_more() -> None:
    rules = AddressRules.around(None, allow=["10.0.0.0/8", "idp.corp.example", "http://keycloak:8080"])
    assert rules.checked("https://10.1.2.3/")
    assert rules.permits(URL("https://idp.corp.example/x"), ip_address("192.168.1.1"))
    assert rules.checked("http://keycloak:8080/realms/x")
    for refused in (
        "http://10.1.2.3/",
        "https://192.168.1.1/",
        "http://idp.corp.example/",
        "http://keycloak:8081/",
        "http://127.0.0.1/",
    ):
        with pytest.raises(AddressRefused):
            rules.checked(refused)
    assert not rules.permits(URL("https://other.example/x"), ip_address("192.168.1.1"))


def test_the_server_a_person_named_may_be_anywhere() -> None:
    rules = AddressRules.around("https://mcp.corp.example/mcp")
    own = URL("https://mcp.corp.example/.well-known/oauth-protected-resource")
    assert rules.permits(own, ip_address("10.0.0.7"))
    assert not rules.permits(URL("https://mcp.corp.example:444/"), ip_address("10.0.0.7"))


@pytest.mark.parametrize("entry", ["10.0.0.1/8", "http://keycloak:8080/path", "ftp://x", "", "a b"])
def test_an_entry_that_allows_nothing_is_an_error(entry: str) -> None:
    with pytest.raises(ConfigError, match="cannot be allowed"):
        AddressRules.around(None, allow=[entry])
