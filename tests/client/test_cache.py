"""Results that may be used again (utilities/caching)."""

import pytest

from trunkline.client.cache import Cache


class Clock:
    """Time that moves when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_result_is_fresh_for_its_ttl() -> None:
    clock = Clock()
    cache = Cache(clock=clock)
    cache.put("tools/list", {}, {"tools": [], "ttlMs": 1500})
    clock.now += 1.4
    assert cache.get("tools/list", {}) is not None
    clock.now += 0.2
    assert cache.get("tools/list", {}) is None
    assert len(cache) == 0


@pytest.mark.parametrize("ttl", [0, -5, None, "60000", True])
def test_without_a_positive_ttl_nothing_is_kept(ttl: object) -> None:
    cache = Cache()
    cache.put("tools/list", {}, {"ttlMs": ttl})
    assert len(cache) == 0


@pytest.mark.parametrize(
    ("method", "params", "result"),
    [
        ("tools/call", {"name": "x"}, {}),
        ("resources/read", {"uri": "a", "inputResponses": {}}, {}),
        ("resources/read", {"uri": "a", "requestState": "s"}, {}),
        ("resources/read", {"uri": "a"}, {"resultType": "input_required"}),
    ],
)
def test_calls_and_input_rounds_are_never_kept(
    method: str, params: dict[str, object], result: dict[str, object]
) -> None:
    cache = Cache()
    cache.put(method, params, {**result, "ttlMs": 60_000})
    assert len(cache) == 0


def test_parameters_are_part_of_the_key_but_not_meta_or_order() -> None:
    cache = Cache()
    cache.put("resources/read", {"uri": "a", "x": 1, "_meta": {"progressToken": 1}}, {"ttlMs": 60_000})
    assert cache.get("resources/read", {"x": 1, "uri": "a"}) is not None
    assert cache.get("resources/read", {"x": 2, "uri": "a"}) is None
    assert cache.get("tools/list", {"x": 1, "uri": "a"}) is None


@pytest.mark.parametrize(
    ("notification", "params", "dropped"),
    [
        ("notifications/tools/list_changed", {}, {"tools/list"}),
        ("notifications/prompts/list_changed", {}, {"prompts/list"}),
        ("notifications/resources/list_changed", {}, {"resources/list", "resources/templates/list"}),
        ("notifications/resources/updated", {"uri": "file:///a"}, {"resources/read"}),
        ("notifications/resources/updated", {"uri": "file:///other"}, set()),
        ("notifications/message", {}, set()),
    ],
)
def test_notifications_drop_what_they_are_about(
    notification: str, params: dict[str, object], dropped: set[str]
) -> None:
    cache = Cache()
    kept = {
        "tools/list": {},
        "prompts/list": {},
        "resources/list": {},
        "resources/templates/list": {},
        "resources/read": {"uri": "file:///a"},
    }
    for method, key in kept.items():
        cache.put(method, key, {"ttlMs": 60_000})
    cache.notice(notification, params)
    assert {method for method, key in kept.items() if cache.get(method, key) is None} == dropped


def test_the_least_used_goes_first() -> None:
    cache = Cache(limit=2)
    for uri in ("a", "b"):
        cache.put("resources/read", {"uri": uri}, {"ttlMs": 60_000})
    cache.get("resources/read", {"uri": "a"})
    cache.put("resources/read", {"uri": "c"}, {"ttlMs": 60_000})
    assert cache.get("resources/read", {"uri": "b"}) is None
    assert cache.get("resources/read", {"uri": "a"}) is not None
