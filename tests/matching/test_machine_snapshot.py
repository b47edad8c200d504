"""One state, one byte string, both ways; and nothing but `SnapshotError` for any other bytes."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raft_exchange.matching import snapshot
from raft_exchange.matching.machine import Exchange
from raft_exchange.matching.messages import Command, CreateAccount, CreateMarket
from raft_exchange.matching.versions import VERSIONS, NewerVersion
from tests.support.workload import commands, new_exchange, rules


def grown(seed: int, count: int) -> Exchange:
    exchange = new_exchange()
    for command in commands(seed, count):
        exchange.apply(command)
    return exchange


SMALL = snapshot.encode(grown(1, 40))
BUSY = snapshot.encode(grown(7, 600))


@pytest.mark.parametrize("seed", range(5))
def test_a_restored_machine_goes_on_as_if_nothing_had_been(seed: int) -> None:
    """Restored half-way, and again and again: same events, same bytes as the one that was not."""
    exchange = restored = new_exchange()
    for number, command in enumerate(commands(seed, 2_000)):
        if number % 250 == 125:
            restored = snapshot.decode(snapshot.encode(restored))
        events = exchange.apply(command)
        if restored is not exchange:
            assert restored.apply(command) == events
        if number % 50 == 0:
            assert snapshot.encode(restored) == snapshot.encode(exchange)
    assert snapshot.state_hash(restored) == snapshot.state_hash(exchange)


def test_bytes_do_not_tell_the_history() -> None:
    """Accounts and markets opened in another order are the same state."""
    one, other = new_exchange(), new_exchange()
    openings: list[Command] = [
        *(CreateAccount(name) for name in ("zoe", "ann", "bob")),
        *(CreateMarket(rules(market)) for market in ("ZEC-USD", "BTC-USD")),
    ]
    for command in openings:
        one.apply(command)
    for command in reversed(openings):
        other.apply(command)
    assert snapshot.encode(one) == snapshot.encode(other)


def test_the_hash_is_of_every_part_of_the_state() -> None:
    """A machine that differs in one thing only has another hash."""
    changes: list[Callable[[Exchange], object]] = [
        lambda exchange: exchange.count_command(),
        lambda exchange: setattr(exchange.state, "time_us", exchange.time_us + 1),
        lambda exchange: setattr(exchange.state, "order_id", exchange.order_id + 1),
        lambda exchange: exchange.live.open_account("another"),
        lambda exchange: setattr(exchange.markets["BTC-USD"].book, "trade_id", 10**6),
        lambda exchange: setattr(exchange.markets["BTC-USD"].book, "priority", 10**6),
        lambda exchange: setattr(exchange.live.by_id[max(exchange.live.by_id)], "sequence", 1),
    ]
    hashes = {snapshot.state_hash(snapshot.decode(BUSY))}
    for change in changes:
        exchange = snapshot.decode(BUSY)
        change(exchange)
        hashes.add(snapshot.state_hash(exchange))
    assert len(hashes) == 1 + len(changes)


def refused_or_canonical(data: bytes) -> bool:
    """Return whether `data` was refused; if not, it must be exactly what its state encodes to."""
    try:
        exchange = snapshot.decode(data)
    except (snapshot.SnapshotError, NewerVersion):
        return True
    exchange.check()
    assert snapshot.encode(exchange) == data
    return False


def test_every_truncation_is_refused() -> None:
    """A snapshot that lost its end, or gained one, is none."""
    assert all(refused_or_canonical(SMALL[:length]) for length in range(len(SMALL)))
    assert refused_or_canonical(SMALL + b"\x00")


def test_a_flipped_bit_is_refused_or_is_another_state() -> None:
    """It never passes for the state it was, and never raises anything else."""
    refused = 0
    for place in range(len(SMALL)):
        for bit in range(8):
            data = bytearray(SMALL)
            data[place] ^= 1 << bit
            refused += refused_or_canonical(bytes(data))
    assert refused > 0.6 * 8 * len(SMALL)


@given(data=st.binary(max_size=200), version=st.booleans())
@settings(max_examples=500, deadline=None)
def test_garbage_is_refused(data: bytes, version: bool) -> None:
    """With or without the right version byte in front."""
    assert refused_or_canonical(b"\x02" + data if version else data)


def test_nesting_and_huge_counts_are_refused() -> None:
    """What a hostile writer would try against the decoder."""
    version = b"\x02"
    for data in (b"\x91" * 100_000, b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc1"):
        assert refused_or_canonical(version + data)


def test_another_version_is_refused() -> None:
    """The first byte says which version it is of."""
    newest = VERSIONS.newest
    later = f"of version {newest + 1}; this release reads versions up to {newest}"
    with pytest.raises(NewerVersion, match=later):
        snapshot.decode(bytes([newest + 1]) + SMALL[1:])
    with pytest.raises(snapshot.SnapshotError, match="version none"):
        snapshot.decode(b"")


def leaves(value: Any, path: tuple[int, ...] = ()) -> list[tuple[int, ...]]:
    """Return the path of every leaf of nested lists."""
    if not isinstance(value, list):
        return [path]
    return [leaf for n, item in enumerate(value) for leaf in leaves(item, (*path, n))]


ODD_VALUES: tuple[object, ...] = (
    None,
    -1,
    0,
    1,
    2,
    2**63,
    2**64 - 1,
    1.0,
    "",
    "ann",
    "٣",
    "1" * 5_000,
    [],
    [[]],
    True,
)


def test_a_wrong_value_anywhere_is_refused_or_is_another_state() -> None:
    """Every field in turn holds something else, in bytes that are perfect msgpack."""
    state = msgspec.msgpack.decode(SMALL[1:])
    rng = random.Random(1)
    for path in leaves(state):
        for value in rng.sample(ODD_VALUES, 5):
            changed = msgspec.msgpack.decode(SMALL[1:])
            target = changed
            for step in path[:-1]:
                target = target[step]
            target[path[-1]] = value
            refused_or_canonical(SMALL[:1] + msgspec.msgpack.encode(changed))


def crossed(state: Any) -> None:
    orders = state[4][0][4]
    buy = next(order for order in orders if order[4] == 0)
    buy[6] = 10**6


def unknown_account(state: Any) -> None:
    state[4][0][4][0][3] = "nobody"


def twice(state: Any) -> None:
    state[4][0][4].append(state[4][0][4][-1])


def in_two_markets(state: Any) -> None:
    state[4][1][4] = [state[4][0][4][0]]
    state[4][1][2] = state[4][0][2]


def unsorted_orders(state: Any) -> None:
    state[4][0][4].reverse()


def unsorted_accounts(state: Any) -> None:
    state[3].reverse()


def no_anonymous(state: Any) -> None:
    state[3].remove("anonymous")


def filled_up(state: Any) -> None:
    state[4][0][4][0][8] = state[4][0][4][0][7]


def expired(state: Any) -> None:
    state[1] = 253_402_300_799_999_999


def behind_its_orders(state: Any) -> None:
    state[2] = 1


def from_the_future(state: Any) -> None:
    state[4][0][4][0][15] = state[0] + 1


@pytest.mark.parametrize(
    "damage",
    [
        *(crossed, unknown_account, twice, in_two_markets, unsorted_orders, unsorted_accounts),
        *(no_anonymous, filled_up, expired, behind_its_orders, from_the_future),
    ],
)
def test_a_state_that_cannot_be_is_refused(damage: Callable[[Any], None]) -> None:
    """Well-formed bytes of a state which no sequence of commands leads to."""
    state = msgspec.msgpack.decode(BUSY[1:])
    assert len(state[4][0][4]) > 10
    damage(state)
    with pytest.raises(snapshot.SnapshotError):
        snapshot.decode(BUSY[:1] + msgspec.msgpack.encode(state))
