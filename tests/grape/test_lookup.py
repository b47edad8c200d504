"""The two ways to ask many: a walk towards a target, and one question to all of a list."""

import random

from grape.contact import Contact
from grape.krpc import Failure, Response
from grape.lookup import (
    CANDIDATES_MAX,
    QUERIES_MAX,
    TOKEN_TABLE_AGE_S,
    Fanout,
    Lookup,
    Responder,
    TokenTables,
)
from grape.routing import K, point

TARGET = bytes(20)
TOKEN = b"token"


def contact(key: int) -> Contact:
    """The contact at this distance from the target."""
    return Contact(
        key.to_bytes(20, "big"), (f"10.{key >> 16 & 255}.{key >> 8 & 255}.{key & 255}", 1)
    )


def answer(asked: Contact, nodes: list[Contact] | None = None) -> Response:
    return Response(b"", asked.node_id, nodes=tuple(nodes or ()), token=TOKEN)


def walk(lookup: Lookup, knows: dict[Contact, list[Contact]]) -> int:
    """Answer every question out of `knows`; return how many were asked."""
    asked = 0
    while contacts := lookup.next_contacts():
        for item in contacts:
            asked += 1
            lookup.discover(knows[item])
            lookup.replied(item, answer(item, knows[item]))
    return asked


def test_a_lookup_finds_the_nearest_through_those_that_know_them() -> None:
    """500 nodes that know their neighbours and 20 at random: the walk ends at the nearest."""
    source = random.Random(1)
    everyone = [contact(key) for key in source.sample(range(1, 2**24), 500)]
    everyone.sort(key=lambda item: point(item.node_id))
    knows = {
        item: source.sample(everyone, K) + everyone[max(0, i - 10) : i + 10]
        for i, item in enumerate(everyone)
    }
    lookup = Lookup(TARGET, [everyone[-1]], concurrency=3)
    asked = walk(lookup, knows)
    assert lookup.is_finished
    assert [item.contact for item in lookup.responders()] == everyone[:K]
    assert asked < 100


def test_no_more_are_in_flight_than_allowed() -> None:
    lookup = Lookup(TARGET, [contact(i) for i in range(1, 11)], concurrency=3)
    first = lookup.next_contacts()
    assert first == [contact(1), contact(2), contact(3)]
    assert lookup.next_contacts() == []
    lookup.replied(first[0], answer(first[0]))
    assert lookup.next_contacts() == [contact(4)]


def test_a_late_contact_is_passed_over() -> None:
    """Who stalls holds up nobody; his place in flight and among the nearest is given away."""
    lookup = Lookup(TARGET, [contact(1), contact(2)], concurrency=1)
    assert lookup.next_contacts() == [contact(1)]
    lookup.stalled(contact(1))
    assert lookup.next_contacts() == [contact(2)]
    lookup.replied(contact(2), answer(contact(2)))
    assert lookup.is_finished
    assert [item.contact for item in lookup.responders()] == [contact(2)]


def test_a_late_answer_still_counts() -> None:
    lookup = Lookup(TARGET, [contact(1), contact(2)], concurrency=1)
    lookup.next_contacts()
    lookup.stalled(contact(1))
    lookup.next_contacts()
    lookup.replied(contact(1), answer(contact(1)))
    lookup.replied(contact(2), answer(contact(2)))
    assert [item.contact for item in lookup.responders()] == [contact(1), contact(2)]


def test_when_nobody_else_answers_the_late_one_is_waited_for() -> None:
    lookup = Lookup(TARGET, [contact(1)], concurrency=1)
    lookup.next_contacts()
    lookup.stalled(contact(1))
    assert not lookup.is_finished
    lookup.failed(contact(1), None)
    assert lookup.is_finished
    assert lookup.responders() == []


def test_a_lookup_without_anyone_to_ask_is_finished() -> None:
    assert Lookup(TARGET, [], concurrency=1).is_finished


def test_an_address_without_id_is_asked_first_and_gets_its_place_when_it_answers() -> None:
    unknown = Contact(b"", ("10.0.0.1", 1))
    lookup = Lookup(TARGET, [contact(5), unknown], concurrency=2)
    assert lookup.next_contacts() == [unknown, contact(5)]
    lookup.replied(unknown, Response(b"", contact(9).node_id, token=TOKEN))
    lookup.replied(contact(5), answer(contact(5)))
    assert [item.contact for item in lookup.responders()] == [
        contact(5),
        Contact(contact(9).node_id, unknown.address),
    ]


def test_liars_cannot_keep_a_lookup_going() -> None:
    """Each answer names 20 inventions nearer than all before: the walk gives up, bounded."""
    lookup = Lookup(TARGET, [contact(2**23)], concurrency=16)
    asked = 0
    nearer = 2**23
    while contacts := lookup.next_contacts():
        for item in contacts:
            asked += 1
            nearer -= K
            lookup.discover(contact(nearer + i) for i in range(K))
            lookup.replied(item, answer(item))
    assert lookup.is_finished
    assert asked == QUERIES_MAX


def test_of_too_many_candidates_the_farthest_are_dropped() -> None:
    lookup = Lookup(TARGET, [contact(2**20 + i) for i in range(CANDIDATES_MAX)], concurrency=K)
    lookup.discover(contact(i) for i in range(1, 6))
    assert len(lookup._candidates) == CANDIDATES_MAX
    assert lookup.next_contacts()[:5] == [contact(i) for i in range(1, 6)]


def test_a_fanout_asks_everyone_once_and_counts() -> None:
    one, two, three = contact(1), contact(2), contact(3)
    fanout = Fanout([Responder(one, b"1"), Responder(two, b"2"), Responder(three, None)])
    assert fanout.next_contacts() == [one, two]
    assert fanout.next_contacts() == []
    assert fanout.token(two) == b"2"
    fanout.stalled(one)
    fanout.replied(one, answer(one))
    assert not fanout.is_finished
    refusal = Failure(b"", 203, "bad token")
    fanout.failed(two, refusal)
    assert fanout.is_finished
    assert (fanout.agreed, fanout.asked, fanout.refusals) == (1, 2, [refusal])


def test_token_tables_age_and_are_bounded() -> None:
    tables = TokenTables(tables_max=2)
    table = [Responder(contact(1), TOKEN)]
    for name in (b"a", b"b", b"c"):
        tables.put(name, table, now_s=0.0)
    assert tables.get(b"a", now_s=0.0) == []
    assert tables.get(b"c", now_s=TOKEN_TABLE_AGE_S - 1) == table
    assert tables.get(b"c", now_s=TOKEN_TABLE_AGE_S) == []


def test_an_empty_table_forgets_the_former_one() -> None:
    tables = TokenTables(tables_max=2)
    tables.put(b"a", [Responder(contact(1), TOKEN)], now_s=0.0)
    tables.put(b"a", [], now_s=0.0)
    assert tables.get(b"a", now_s=0.0) == []
