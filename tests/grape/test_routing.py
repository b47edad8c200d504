"""The routing table: who enters, who stays, who is nearest."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from grape.contact import Contact
from grape.routing import SHUN_S, K, RoutingTable, Shunned, point

OWN = bytes(20)
STALE_S = 300.0


def contact(number: int, *, key: int | None = None) -> Contact:
    """A contact at an address of its own; the key says where it lies."""
    node_id = (number if key is None else key).to_bytes(20, "big")
    return Contact(node_id, (f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", 1))


def table_of(contacts: list[Contact]) -> RoutingTable:
    table = RoutingTable(OWN, stale_s=STALE_S)
    for item in contacts:
        table.heard(item, now_s=0.0)
    table.check()
    return table


@settings(max_examples=50)
@given(st.integers(0, 2**32), st.integers(1, 300), st.binary(max_size=25))
def test_closest_agrees_with_sorting_everything(seed: int, count: int, target: bytes) -> None:
    """The walk over buckets gives what a plain sort by XOR distance gives."""
    source = random.Random(seed)
    # Keys of every length of common prefix with our own, not only of the farthest buckets.
    keys = {source.getrandbits(160) >> source.randrange(160) for _ in range(count)} - {0}
    table = table_of([contact(i, key=key) for i, key in enumerate(keys)])
    expected = sorted(table, key=lambda item: point(item.node_id) ^ point(target))
    assert table.closest(target) == expected[:K]


def test_a_name_of_any_length_has_one_place() -> None:
    assert point(b"a") == point(b"a" + bytes(19))
    assert point(b"n" * 20 + b"tail") == point(b"n" * 20)


def test_a_full_bucket_keeps_those_it_has() -> None:
    far = 1 << 159
    table = table_of([contact(i, key=far + i) for i in range(K)])
    late = contact(99, key=far + 99)
    assert not table.wants(late, now_s=STALE_S - 1)
    assert not table.heard(late, now_s=STALE_S - 1)
    assert late not in list(table)


def test_a_silent_contact_gives_way() -> None:
    far = 1 << 159
    table = table_of([contact(i, key=far + i) for i in range(K)])
    for i in range(1, K):
        table.heard(contact(i, key=far + i), now_s=10.0)
    late = contact(99, key=far + 99)
    assert table.wants(late, now_s=STALE_S)
    assert table.heard(late, now_s=STALE_S)
    table.check()
    assert late in list(table)
    assert contact(0, key=far) not in list(table)


def test_a_restarted_node_takes_the_place_of_its_former_self() -> None:
    table = table_of([contact(1, key=5)])
    reborn = contact(1, key=77)
    assert table.wants(reborn, now_s=1.0)
    assert table.heard(reborn, now_s=1.0)
    table.check()
    assert list(table) == [reborn]


def test_a_node_that_moved_is_known_at_its_new_address_only() -> None:
    table = table_of([contact(1, key=5)])
    moved = contact(2, key=5)
    assert table.heard(moved, now_s=1.0)
    table.check()
    assert list(table) == [moved]


def test_we_are_not_our_own_contact() -> None:
    table = table_of([contact(1, key=0)])
    assert len(table) == 0


def test_removing_a_former_self_leaves_the_new_one() -> None:
    table = table_of([contact(1, key=5)])
    table.heard(contact(1, key=6), now_s=1.0)
    table.remove(contact(1, key=5))
    assert list(table) == [contact(1, key=6)]


def test_silent_since_tells_who_was_not_heard() -> None:
    table = table_of([contact(1), contact(2)])
    table.heard(contact(2), now_s=5.0)
    assert table.silent_since(4.0) == [contact(1)]


def test_a_shunned_address_is_asked_again_after_a_while_or_a_word() -> None:
    shunned = Shunned()
    one, two = contact(1), contact(2)
    shunned.add(one.address, now_s=0.0)
    shunned.add(two.address, now_s=0.0)
    assert shunned.others([one, two], now_s=SHUN_S - 0.1) == []
    shunned.forgive(two.address)
    assert shunned.others([one, two], now_s=SHUN_S - 0.1) == [two]
    assert shunned.others([one, two], now_s=SHUN_S) == [one, two]


def test_addresses_that_nobody_can_have_are_not_asked() -> None:
    hosts = ["0.0.0.0", "0.1.2.3", "224.0.0.1", "255.255.255.255"]
    bad = [Contact(OWN, (host, 1)) for host in hosts] + [Contact(OWN, ("10.0.0.1", 0))]
    assert Shunned().others(bad, now_s=0.0) == []
