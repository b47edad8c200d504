"""The batcher: a lone order waits for nothing, a crowd shares an entry, a group is never split."""

from raft_exchange.sequencer.batcher import (
    CANCEL_SHARE,
    CLOSE_BYTES,
    CLOSE_COMMANDS,
    IN_FLIGHT_MAX,
    QUEUE_CANCELS_MAX,
    QUEUE_COMMANDS_MAX,
    Batcher,
    Priority,
)


def test_a_lone_group_leaves_at_once() -> None:
    batcher: Batcher[str] = Batcher()
    assert batcher.add("a", commands=1, size_bytes=50)
    assert batcher.take(in_flight=0) == ["a"]
    assert batcher.take(in_flight=0) == []


def test_groups_gather_while_enough_is_in_flight() -> None:
    batcher: Batcher[str] = Batcher()
    for name in "abc":
        batcher.add(name, commands=1, size_bytes=50)
    assert batcher.take(in_flight=IN_FLIGHT_MAX) == []
    assert batcher.take(in_flight=IN_FLIGHT_MAX - 1) == ["a", "b", "c"]


def test_a_batch_closes_at_its_count() -> None:
    batcher: Batcher[int] = Batcher()
    for number in range(CLOSE_COMMANDS + 1):
        batcher.add(number, commands=1, size_bytes=1)
    assert len(batcher.take(in_flight=0)) == CLOSE_COMMANDS
    assert batcher.take(in_flight=0) == [CLOSE_COMMANDS]


def test_a_batch_closes_at_its_bytes() -> None:
    batcher: Batcher[str] = Batcher()
    batcher.add("a", commands=1, size_bytes=CLOSE_BYTES - 10)
    batcher.add("b", commands=1, size_bytes=20)
    assert batcher.take(in_flight=0) == ["a"]
    assert batcher.take(in_flight=0) == ["b"]


def test_a_group_above_the_closing_size_leaves_alone_and_whole() -> None:
    batcher: Batcher[str] = Batcher()
    batcher.add("small", commands=1, size_bytes=10)
    batcher.add("great", commands=CLOSE_COMMANDS + 1, size_bytes=CLOSE_BYTES + 1)
    assert batcher.take(in_flight=0) == ["small"]
    assert batcher.take(in_flight=0) == ["great"]


def test_a_full_queue_refuses_and_keeps_what_it_has() -> None:
    batcher: Batcher[int] = Batcher()
    for number in range(QUEUE_COMMANDS_MAX // 400):
        assert batcher.add(number, commands=400, size_bytes=1)
    assert not batcher.add(-1, commands=1, size_bytes=1)
    assert batcher.commands == QUEUE_COMMANDS_MAX
    assert batcher.take(in_flight=0) == [0]
    assert batcher.add(-1, commands=1, size_bytes=1)


def test_groups_that_are_overdue_are_dropped_from_both_lanes() -> None:
    batcher: Batcher[str] = Batcher()
    batcher.add("a", commands=2, size_bytes=1)
    batcher.add("b", commands=3, size_bytes=1)
    batcher.add("cancel", commands=1, size_bytes=1, owner="ann", priority=Priority.CANCEL)
    assert sorted(batcher.drop(lambda group: group != "b")) == ["a", "cancel"]
    assert batcher.commands == 3
    assert batcher.take(in_flight=0) == ["b"]


def full_of_orders() -> Batcher[object]:
    """Of accounts 0, 1, … with 400 orders each."""
    batcher: Batcher[object] = Batcher()
    for number in range(QUEUE_COMMANDS_MAX // 400):
        assert batcher.add(number, commands=400, size_bytes=1, owner=str(number))
    return batcher


def test_a_queue_full_of_orders_takes_cancels_and_serves_them_first() -> None:
    batcher = full_of_orders()
    cancel = {"commands": 1, "size_bytes": 1}
    assert batcher.add("all", **cancel, owner="ann", priority=Priority.CANCEL)
    assert batcher.add("one", **cancel, owner="7", priority=Priority.CANCEL_BY_ID)
    assert batcher.take(in_flight=0) == ["all", "one"], "an order of 400 has no room beside them"
    assert batcher.take(in_flight=0) == [0]


def test_a_cancel_without_an_id_stays_behind_its_owners_orders() -> None:
    batcher = full_of_orders()
    assert batcher.add("all", commands=1, size_bytes=1, owner="49", priority=Priority.CANCEL)
    left = [group for _ in range(51) for group in batcher.take(in_flight=0)]
    assert left == [*range(50), "all"]


def test_orders_stay_behind_an_earlier_cancel_of_their_owner() -> None:
    batcher: Batcher[object] = Batcher()
    batcher.add("an order", commands=1, size_bytes=1, owner="bob")
    for number in range(CLOSE_COMMANDS):
        cancel = Priority.CANCEL_BY_ID
        batcher.add(number, commands=1, size_bytes=1, owner="cyd", priority=cancel)
    batcher.add("all of ann", commands=1, size_bytes=1, owner="ann", priority=Priority.CANCEL)
    batcher.add("a new one of ann", commands=1, size_bytes=1, owner="ann")
    left = batcher.take(in_flight=0) + batcher.take(in_flight=0)
    assert left.index("all of ann") < left.index("a new one of ann")
    assert left.index("an order") == CLOSE_COMMANDS // CANCEL_SHARE, "cancels leave room for orders"


def test_cancels_are_bounded_as_well_and_orders_do_not_feel_it() -> None:
    batcher: Batcher[object] = Batcher()
    for number in range(QUEUE_CANCELS_MAX):
        cancel = Priority.CANCEL_BY_ID
        assert batcher.add(number, commands=1, size_bytes=1, owner="a", priority=cancel)
    assert batcher.use == 1.0
    assert not batcher.add("x", commands=1, size_bytes=1, owner="a", priority=Priority.CANCEL)
    assert batcher.add("an order", commands=1, size_bytes=1, owner="a")
    while batcher:
        assert batcher.take(in_flight=0)
    assert batcher.commands == 0
