"""The batcher: a lone order waits for nothing, a crowd shares an entry, a group is never split."""

from raft_exchange.sequencer.batcher import (
    CLOSE_BYTES,
    CLOSE_COMMANDS,
    IN_FLIGHT_MAX,
    QUEUE_COMMANDS_MAX,
    Batcher,
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


def test_the_group_that_waits_longest_can_be_dropped() -> None:
    batcher: Batcher[str] = Batcher()
    batcher.add("a", commands=2, size_bytes=1)
    batcher.add("b", commands=3, size_bytes=1)
    assert batcher.oldest() == "a"
    batcher.drop_oldest()
    assert batcher.oldest() == "b"
    assert batcher.commands == 3
