"""The in-memory stores: what a store must do, and that it stays within its bounds."""

import pytest

from trunkline.engine.doors import SessionState, Tail
from trunkline.engine.memory import MemoryEvents, MemorySessions


class TestEvents:
    async def test_what_followed_an_event_is_told_in_order_on_its_stream_alone(self) -> None:
        log = MemoryEvents()
        ids = [await log.append("s", "a", b"%d" % number) for number in range(5)]
        other = await log.append("s", "b", b"other")
        followed = [(ids[2], b"2"), (ids[3], b"3"), (ids[4], b"4")]
        assert await log.after("s", ids[1]) == Tail("a", followed, "open")
        assert await log.after("s", ids[4]) == Tail("a", [], "open")
        assert await log.after("s", other) == Tail("b", [], "open")
        assert len({*ids, other}) == 6

    async def test_the_events_of_another_session_are_unknown(self) -> None:
        log = MemoryEvents()
        id = await log.append("mine", "a", b"x")
        assert await log.after("yours", id) is None

    @pytest.mark.parametrize("event", ["", "a", "a/", "a/x", "a/-1", "a/3", "a/9999999999999", "/1", "a/²", "b/1"])
    async def test_an_event_that_never_was_is_unknown(self, event: str) -> None:
        log = MemoryEvents()
        await log.append("s", "a", b"1")
        await log.append("s", "a", b"2")
        assert await log.after("s", event) is None

    async def test_only_the_latest_of_a_long_stream_are_kept_and_the_loss_is_told(self) -> None:
        log = MemoryEvents(per_stream=3)
        ids = [await log.append("s", "a", b"%d" % number) for number in range(10)]
        found = await log.after("s", ids[6])
        assert found is not None
        assert [data for _, data in found.events] == [b"7", b"8", b"9"]
        assert await log.after("s", ids[5]) is None

    async def test_the_longest_unused_streams_give_way(self) -> None:
        log = MemoryEvents(limit=2)
        first = await log.append("s", "a", b"x")
        second = await log.append("s", "b", b"x")
        await log.append("s", "a", b"y")
        await log.append("s", "c", b"x")
        assert await log.after("s", second) is None
        assert await log.after("s", first) is not None

    async def test_the_bytes_are_bounded(self) -> None:
        log = MemoryEvents(size=100)
        first = await log.append("s", "a", b"x" * 60)
        second = await log.append("t", "b", b"x" * 60)
        assert await log.after("s", first) is None
        third = await log.append("t", "b", b"x" * 300)
        assert await log.after("t", second) == Tail("b", [(third, b"x" * 300)], "open")

    async def test_one_owner_cannot_push_out_what_is_kept_for_another(self) -> None:
        for bounds, count in (({"limit": 4}, 1), ({"size": 40}, 10)):
            log = MemoryEvents(**bounds)
            mine = await log.append("ann.1", "a", b"x")
            for number in range(20):
                await log.append(f"eve.{number}", "a", b"y" * count)
            assert await log.after("ann.1", mine) == Tail("a", [], "open")

    async def test_a_dropped_stream_that_goes_on_does_not_count_anew(self) -> None:
        log = MemoryEvents(limit=1)
        seen = [await log.append("s", "a", b"%d" % number) for number in range(3)]
        await log.append("s", "b", b"x")
        for number in range(3, 9):
            last = await log.append("s", "a", b"%d" % number)
        assert await log.after("s", seen[1]) is None
        assert last not in seen
        found = await log.after("s", seen[2])
        assert found is not None
        assert [data for _, data in found.events] == [b"3", b"4", b"5", b"6", b"7", b"8"]

    async def test_a_finished_stream_is_complete_and_forgotten_in_time(self) -> None:
        log = MemoryEvents()
        await log.begin("s", "brief", [1])
        await log.begin("s", "long", ["a", 2])
        brief, long = await log.append("s", "brief", b"x"), await log.append("s", "long", b"x")
        assert await log.after("s", long) == Tail("long", [], "open", ("a", 2))
        await log.finish("s", "long", 1e6)
        await log.finish("s", "brief", 0.0)
        assert await log.after("s", brief) is None
        assert await log.after("s", long) == Tail("long", [], "complete", ("a", 2))

    async def test_forgetting_a_session_leaves_nothing(self) -> None:
        log = MemoryEvents()
        a, b = await log.append("s", "a", b"x"), await log.append("s", "b", b"x")
        other = await log.append("t", "a", b"x")
        assert await log.after("s", a) is not None
        await log.forget("s")
        await log.forget("s")
        assert await log.after("s", b) is None
        assert await log.after("t", other) is not None
        await log.forget("t")
        assert not log._streams
        assert not log._of_session
        assert not log._shares


class TestSessions:
    async def test_an_ended_or_expired_session_is_gone(self) -> None:
        store = MemorySessions(idle=1e6)
        await store.begin("a")
        assert await store.change("a", lambda state: setattr(state, "log_level", "info")) == SessionState("info")
        assert await store.load("a") == SessionState(log_level="info")
        await store.end("a")
        assert await store.load("a") is None
        assert await store.change("a", lambda state: setattr(state, "log_level", "info")) is None
        brief = MemorySessions(idle=-1)
        await brief.begin("a")
        assert await brief.load("a") is None

    async def test_what_was_loaded_is_a_copy(self) -> None:
        store = MemorySessions()
        await store.begin("a")
        loaded = await store.load("a")
        assert loaded is not None
        loaded.subscriptions.add("x://y")
        assert await store.load("a") == SessionState()

    async def test_the_longest_unused_end_first(self) -> None:
        store = MemorySessions(limit=2)
        await store.begin("a")
        await store.begin("b")
        await store.load("a")
        await store.begin("c")
        assert await store.load("b") is None
        assert await store.load("a") is not None

    async def test_one_owner_cannot_end_the_sessions_of_another(self) -> None:
        store = MemorySessions(limit=3)
        await store.begin("ann.1")
        for number in range(10):
            await store.begin(f"eve.{number}")
        assert await store.load("ann.1") is not None
        assert await store.load("eve.7") is None
        assert await store.load("eve.9") is not None
        for key in ("ann.1", "eve.8", "eve.9"):
            await store.end(key)
        assert not store._owners
