"""Items on virtual time: who stores what, who may change it, and which one is found."""

from grape.bootstrap import RETRY_S_MAX
from grape.contact import Address
from grape.events import (
    PutFinished,
    Refusal,
)
from grape.items import Item, sign_item
from tests.support.dht_ring import Ring, circle, pair

PRIVATE_KEY = bytes(range(32))


def test_an_immutable_item_is_found_from_everywhere() -> None:
    ring = circle(5)
    first, *others = ring.nodes
    item = Item(v=b"hello world")
    assert ring.finish(first, ring.nodes[first].put(item, now_s=ring.now_s)).stored == 4
    for address in others:
        node = ring.nodes[address]
        number = node.get(item.target, salt=b"", from_store=True, now_s=ring.now_s)
        assert ring.finish(address, number).found.item == item


def get(ring: Ring, address: Address, item: Item) -> Item | None:
    node = ring.nodes[address]
    number = node.get(item.target, salt=item.salt, from_store=True, now_s=ring.now_s)
    found = ring.finish(address, number).found
    return found.item if found else None


def put(ring: Ring, address: Address, item: Item, *, cas: int | None = None) -> PutFinished:
    outcome = ring.finish(address, ring.nodes[address].put(item, cas=cas, now_s=ring.now_s))
    assert isinstance(outcome, PutFinished)
    return outcome


def test_of_a_mutable_item_the_newest_is_found_though_a_stale_copy_is_nearer() -> None:
    """The writer's old copy, and one of a node that missed the update, lose against the newest."""
    ring = circle(4)
    a, b, c, d = ring.nodes
    old = sign_item(PRIVATE_KEY, b"v1", seq=1, salt=b"s")
    new = sign_item(PRIVATE_KEY, b"v2", seq=2, salt=b"s")
    put(ring, a, old)
    ring.loses = lambda data, source, to: a in (source, to)
    put(ring, b, new)
    ring.loses = lambda data, source, to: False
    ring.run(RETRY_S_MAX * 2)
    for address in (a, b, c, d):
        assert get(ring, address, new) == new


def test_an_old_sequence_number_and_a_wrong_cas_are_refused() -> None:
    ring, a, b = pair()
    put(ring, a, sign_item(PRIVATE_KEY, b"v2", seq=2))
    again = put(ring, a, sign_item(PRIVATE_KEY, b"v2", seq=2))
    assert (again.stored, again.refusal) == (0, Refusal.OLD_SEQUENCE)
    mismatch = put(ring, b, sign_item(PRIVATE_KEY, b"v3", seq=3), cas=1)
    assert (mismatch.stored, mismatch.refusal) == (0, Refusal.CAS_MISMATCH)
    assert put(ring, b, sign_item(PRIVATE_KEY, b"v3", seq=3), cas=2).stored == 1


def test_what_is_old_for_the_writer_itself_is_put_nowhere() -> None:
    """A node that missed the newer item would take the old one; it is not even asked."""
    ring, a, b = pair()
    put(ring, a, sign_item(PRIVATE_KEY, b"v2", seq=2))
    ring.kill(b)
    b = ring.add(1, bootstrap=[0])
    ring.run(0.1)
    assert put(ring, a, sign_item(PRIVATE_KEY, b"v1", seq=1)).refusal is Refusal.OLD_SEQUENCE
    assert put(ring, a, sign_item(PRIVATE_KEY, b"xx", seq=2)).refusal is Refusal.OLD_SEQUENCE
    third = sign_item(PRIVATE_KEY, b"v3", seq=3)
    assert put(ring, a, third, cas=1).refusal is Refusal.CAS_MISMATCH
    assert len(ring.nodes[b].items) == 0
    assert put(ring, a, sign_item(PRIVATE_KEY, b"v2", seq=2)).stored == 1


def test_a_lone_grape_holds_items_to_the_same_rules() -> None:
    ring = Ring()
    a = ring.add(0)
    assert put(ring, a, sign_item(PRIVATE_KEY, b"v2", seq=2)).stored == 1
    assert put(ring, a, sign_item(PRIVATE_KEY, b"v1", seq=1)).refusal is Refusal.OLD_SEQUENCE
    third = sign_item(PRIVATE_KEY, b"v3", seq=3)
    assert put(ring, a, third, cas=9).refusal is Refusal.CAS_MISMATCH
    assert put(ring, a, third, cas=2).stored == 1
    assert get(ring, a, third) == third


def test_a_forged_item_is_neither_stored_nor_returned() -> None:
    ring, a, b = pair()
    good = sign_item(PRIVATE_KEY, b"v1", seq=1)
    forged = Item(v=b"lie", k=good.k, seq=2, sig=good.sig)
    assert put(ring, a, forged).stored == 0
    assert len(ring.nodes[b].items) == 0
    ring.nodes[b].items.put(forged, source="", size_bytes=3)
    assert get(ring, a, good) is None


def test_a_value_too_large_is_refused_with_a_word() -> None:
    ring, a, b = pair()
    put(ring, a, Item(v=b"x" * 1_001))
    answer = b"d1:eli205e22:data payload too largee1:t2:"
    assert any(data.startswith(answer) for source, _, data in ring.trace if source == b)
    assert len(ring.nodes[b].items) == 0
