"""Merging and routing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.errors import InvalidParams
from trunkline.gateway.catalog import LACKING_TTL_MS, PAGE, UNAVAILABLE_KEY, Catalog, Part, Route
from trunkline.gateway.listing import listed


def tool(name, **more):
    return {"name": name, "inputSchema": {"type": "object"}, **more}


def part(name, tools=(), resources=(), templates=(), prompts=(), label="", reads=True, **hints):
    return Part(
        name,
        name if label == "" else label,
        {
            "tools": listed(
                "tools", [{"tools": [tool(one) if isinstance(one, str) else one for one in tools], **hints}]
            ),
            "prompts": listed("prompts", [{"prompts": [{"name": one} for one in prompts]}]),
            "resources": listed("resources", [{"resources": [{"uri": uri, "name": uri} for uri in resources]}]),
            "templates": listed(
                "templates", [{"resourceTemplates": [{"uriTemplate": one, "name": one} for one in templates]}]
            ),
        },
        reads,
    )


def seen(catalog, kind, member, key):
    return [item[key] for item in catalog.page(kind, None)[member]]


def test_lists_follow_the_configuration_then_the_upstream():
    catalog = Catalog([part("b", ["z", "a"]), part("a", ["m"])])
    assert seen(catalog, "tools", "tools", "name") == ["b__z", "b__a", "a__m"]
    assert catalog.find("tools", "b__a") == Route("b", "a")


def test_an_upstream_alone_is_never_renamed():
    catalog = Catalog([part("only", ["weird name!"], resources=["a__b"], label=None)])
    assert seen(catalog, "tools", "tools", "name") == ["weird name!"]
    assert seen(catalog, "resources", "resources", "uri") == ["a__b"]
    assert catalog.expose("only", "only__x") == "only__x"


def test_uris_stay_while_unique_and_are_rewritten_on_collision():
    catalog = Catalog([part("a", resources=["demo://1"]), part("b", resources=["demo://1", "demo://2"])])
    assert seen(catalog, "resources", "resources", "uri") == ["demo://1", "demo://b__1", "demo://2"]
    assert catalog.locate("demo://1") == Route("a", "demo://1")
    assert catalog.locate("demo://b__1") == Route("b", "demo://1")
    assert catalog.expose("b", "demo://1") == "demo://b__1"
    assert catalog.expose("b", "demo://2") == "demo://2"


def test_a_uri_that_looks_rewritten_is_rewritten_itself():
    catalog = Catalog([part("a", resources=["demo://b__1"]), part("b", resources=["demo://1"])])
    assert seen(catalog, "resources", "resources", "uri") == ["demo://a__b__1", "demo://1"]
    assert catalog.locate("demo://a__b__1") == Route("a", "demo://b__1")


def test_templates_route_what_they_expand_to_and_the_most_literal_goes_first():
    catalog = Catalog([part("a", templates=["demo://{+any}"]), part("b", templates=["demo://b/{id}", "demo://{+any}"])])
    assert catalog.locate("demo://b/1") == Route("b", "demo://b/1")
    assert catalog.locate("demo://c/1") == Route("a", "demo://c/1")
    assert seen(catalog, "templates", "resourceTemplates", "uriTemplate")[-1] == "demo://b__{+any}"
    assert catalog.locate("demo://b__c/1") == Route("b", "demo://c/1")


def test_unlisted_uris():
    catalog = Catalog([part("a"), part("b"), part("mute", reads=False)])
    assert catalog.locate("demo://1") is None
    assert catalog.expose("a", "demo://1") == "demo://a__1"
    assert catalog.expose("a", "https://example.com/") == "https://example.com/"
    assert catalog.expose("mute", "demo://1") == "demo://1"
    sole = Catalog([part("a"), part("mute", reads=False)])
    assert sole.expose("a", "demo://1") == "demo://1"
    assert sole.locate("demo://1") == Route("a", "demo://1")


def test_user_interfaces_of_tools_follow_their_resources():
    app = tool("show", _meta={"ui": {"resourceUri": "ui://app"}, "ui/resourceUri": "ui://app", "other": 1})
    catalog = Catalog([part("a", resources=["ui://app"]), part("b", [app], resources=["ui://app"])])
    (shown,) = catalog.page("tools", None)["tools"]
    assert shown["_meta"] == {"ui": {"resourceUri": "ui://b__app"}, "ui/resourceUri": "ui://b__app", "other": 1}
    assert app["_meta"]["ui"] == {"resourceUri": "ui://app"}


uris = st.sampled_from(["demo://1", "demo://a__1", "demo://b__1", "demo://a__b__1", "x", "a__x", "ui://1", "https://x"])


@given(st.lists(st.lists(uris, max_size=4), min_size=2, max_size=3), st.lists(uris, max_size=4))
def test_every_exposed_uri_leads_back(lists, unlisted):
    parts = [part(name, resources=own) for name, own in zip("abc", lists, strict=False)]
    catalog = Catalog(parts)
    shown = seen(catalog, "resources", "resources", "uri")
    assert len(set(shown)) == len(shown)
    for one in parts:
        for uri in [item["uri"] for item in one.lists["resources"].items] + unlisted:
            exposed = catalog.expose(one.upstream, uri)
            route = catalog.locate(exposed)
            assert route == Route(one.upstream, uri) or (route is None and uri.startswith("https:"))


def test_hints_are_the_shortest_life_and_private_if_any_is():
    catalog = Catalog([part("a", ttlMs=9_000, cacheScope="public"), part("b", ttlMs=7_000, cacheScope="private")])
    page = catalog.page("tools", None)
    assert (page["ttlMs"], page["cacheScope"]) == (7_000, "private")


def test_a_list_that_lacks_an_upstream_says_so_and_is_soon_stale():
    page = Catalog([part("a", ["t"]), Part("sick", "sick")]).page("tools", None, lacking=["sick"])
    assert page["_meta"] == {UNAVAILABLE_KEY: ["sick"]}
    assert page["ttlMs"] == LACKING_TTL_MS
    assert [one["name"] for one in page["tools"]] == ["a__t"]


def test_long_lists_come_in_pages():
    catalog = Catalog([part("a", [f"t{number}" for number in range(PAGE + 5)])])
    first = catalog.page("tools", None)
    second = catalog.page("tools", first["nextCursor"])
    assert len(first["tools"]) == PAGE
    assert [one["name"] for one in second["tools"]][-1] == f"a__t{PAGE + 4}"
    assert "nextCursor" not in second


@pytest.mark.parametrize("cursor", ["", "-1", "x", "99", "٣", "0"])
def test_a_cursor_of_no_page_is_refused(cursor):
    with pytest.raises(InvalidParams):
        Catalog([part("a", ["t"])]).page("tools", cursor)


def test_the_label_tells_who_may_have_an_unlisted_name():
    catalog = Catalog([Part("time", "time"), Part("my files", "my_files-1")])
    assert catalog.owner("my_files-1__read") == "my files"
    assert catalog.owner("other__read") is None
