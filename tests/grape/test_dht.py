"""The DHT node on virtual time: what nodes do to each other, and how long it takes."""

import random

import pytest

from grape.bootstrap import RETRY_S_MAX
from grape.contact import Address, Contact
from grape.dht import BOOTSTRAP_PATIENCE_S, GREETINGS_MAX, DhtSettings
from grape.events import (
    AnnounceFinished,
    NodeAdded,
    PeerFound,
    PutFinished,
    Ready,
    Refusal,
    ServiceStored,
)
from grape.items import Item, sign_item
from grape.krpc import FindNode, Ping, Query, Response, decode_message, encode_message
from grape.routing import K, point
from grape.storage import TOKEN_ROTATION_S
from tests.support.dht_ring import PORT, Ring, address_of

PRIVATE_KEY = bytes(range(32))


def pair(seed: int = 1) -> tuple[Ring, Address, Address]:
    """Two nodes that know each other."""
    ring = Ring(seed)
    a = ring.add(0, bootstrap=[1])
    b = ring.add(1, bootstrap=[0])
    ring.run(0.1)
    ring.trace.clear()
    return ring, a, b


def circle(count: int, *, seed: int = 1) -> Ring:
    """Nodes that all joined through the first two."""
    ring = Ring(seed)
    for number in range(count):
        ring.add(number, bootstrap=[0, 1])
        ring.run(0.05)
    ring.run(1.0)
    return ring


# Two nodes.


def test_two_nodes_speak_as_two_real_grapes_do() -> None:
    """The trace of a real pair, byte for byte: join, announce, look up, put."""
    ring = Ring()
    a, b = ring.make(0), ring.make(1)
    id_a, id_b = ring.nodes[a].node_id, ring.nodes[b].node_id
    ring.start(a, bootstrap=[1])
    ring.run(0.1)
    ring.start(b, bootstrap=[0])
    ring.run(0.1)
    ring.announce(a, b"rpc_test", 1337)
    assert ring.lookup(a, b"rpc_test") == {(a[0], 1337)}
    item = Item(v=b"hello world")
    ring.finish(a, ring.nodes[a].put(item, now_s=ring.now_s))
    token = next(data for _, _, data in ring.trace if b"5:token" in data)
    token = token.partition(b"5:token20:")[2][:20]
    contact_a = id_a + b"\x0a\x00\x00\x01N "
    contact_b = id_b + b"\x0a\x00\x00\x02N "
    target = item.target
    said_by_a = [
        b"d1:ad2:id20:%b6:target20:%be1:q9:find_node1:t2:\x00\x011:y1:qe" % (id_a, id_a),
        b"d1:ad2:id20:%b9:info_hash8:rpc_teste1:q9:get_peers1:t2:\x00\x021:y1:qe" % id_a,
        b"d1:ad2:id20:%b12:implied_porti0e9:info_hash8:rpc_test4:porti1337e5:token20:%be"
        b"1:q13:announce_peer1:t2:\x00\x031:y1:qe" % (id_a, token),
        b"d1:ad2:id20:%b9:info_hash8:rpc_teste1:q9:get_peers1:t2:\x00\x041:y1:qe" % id_a,
        b"d1:ad2:id20:%b6:target20:%be1:q3:get1:t2:\x00\x051:y1:qe" % (id_a, target),
        b"d1:ad2:id20:%b5:token20:%b1:v11:hello worlde1:q3:put1:t2:\x00\x061:y1:qe" % (id_a, token),
    ]
    answers_to_a = [
        b"d1:rd2:id20:%b5:nodes0:e1:t2:\x00\x011:y1:re" % id_b,
        b"d1:rd2:id20:%b5:nodes26:%b5:token20:%be1:t2:\x00\x021:y1:re" % (id_b, contact_a, token),
        b"d1:rd2:id20:%be1:t2:\x00\x031:y1:re" % id_b,
        b"d1:rd2:id20:%b5:token20:%b6:valuesl6:\x0a\x00\x00\x01\x059ee1:t2:\x00\x041:y1:re"
        % (id_b, token),
        b"d1:rd2:id20:%b5:nodes26:%b5:token20:%be1:t2:\x00\x051:y1:re" % (id_b, contact_a, token),
        b"d1:rd2:id20:%be1:t2:\x00\x061:y1:re" % id_b,
    ]
    from_a = [data for source, _, data in ring.trace if source == a]
    from_b = [data for source, _, data in ring.trace if source == b]
    answer = b"d1:rd2:id20:%b5:nodes26:%be1:t2:\x00\x021:y1:re" % (id_a, contact_b)
    assert answer in from_a  # to b's own find_node
    assert [data for data in from_a if data.endswith(b"1:y1:qe")] == said_by_a
    assert [data for data in from_b if data.endswith(b"1:y1:re")] == answers_to_a


def test_what_one_announced_the_other_finds() -> None:
    ring, a, b = pair()
    assert ring.announce(a, b"svc", 1337) == AnnounceFinished(2, 1)
    assert ring.lookup(b, b"svc") == {(a[0], 1337)}
    assert ring.lookup(a, b"svc") == {(a[0], 1337)}
    assert ServiceStored(b"svc", (a[0], 1337)) in ring.events[b]
    assert PeerFound(b"svc", (a[0], 1337)) in ring.events[a]


def test_port_zero_is_the_port_of_the_dht() -> None:
    ring, a, b = pair()
    ring.announce(a, b"svc", 0)
    assert ring.lookup(b, b"svc") == {(a[0], PORT)}


@pytest.mark.parametrize("name", [b"", b"x", b"n" * 20, b"n" * 21, b"n" * 8_000, "zażółć".encode()])
def test_a_name_may_have_any_length(name: bytes) -> None:
    ring, a, b = pair()
    ring.announce(a, name, 1337)
    assert ring.lookup(b, name) == {(a[0], 1337)}


def test_a_second_announcement_needs_no_search() -> None:
    ring, a, _ = pair()
    ring.announce(a, b"svc", 1337)
    ring.trace.clear()
    ring.announce(a, b"svc", 1337)
    assert [b"announce_peer" in data for source, _, data in ring.trace if source == a] == [True]


def test_an_announcement_after_a_lookup_needs_no_search_either() -> None:
    ring, a, _ = pair()
    ring.lookup(a, b"svc")
    ring.trace.clear()
    ring.announce(a, b"svc", 1337)
    assert [b"announce_peer" in data for source, _, data in ring.trace if source == a] == [True]


def test_after_the_other_restarted_the_very_next_announcement_succeeds() -> None:
    """The tokens we hold are worthless then: the search is made again, within the same call."""
    ring, a, b = pair()
    ring.announce(a, b"svc", 1337)
    ring.add(1)  # in the place of b, with a new id, and without knowing anyone
    begun_s = ring.now_s
    assert ring.announce(a, b"svc", 1337).stored == 1
    assert ring.now_s - begun_s < 0.1
    assert ring.lookup(b, b"svc") == {(a[0], 1337)}
    ring.check()


def test_a_service_outlives_the_restart_of_the_only_grape_that_stored_it() -> None:
    """We keep what we announced, so the others find it even before we announce again."""
    ring, a, b = pair()
    ring.announce(a, b"svc", 1337)
    ring.add(1, bootstrap=[0])
    ring.run(0.1)
    assert ring.lookup(b, b"svc") == {(a[0], 1337)}


def test_after_the_other_died_an_announcement_is_kept_here_within_two_seconds() -> None:
    ring, a, b = pair()
    ring.announce(a, b"svc", 1337)
    ring.kill(b)
    begun_s = ring.now_s
    assert ring.announce(a, b"svc", 1337).stored == 1
    assert ring.now_s - begun_s < 2.0
    assert ring.lookup(a, b"svc") == {(a[0], 1337)}


def test_when_all_refuse_the_announcement_fails() -> None:
    """Grapes are there and answer, but none stores: that is an error and not a lone grape."""
    ring, a, _ = pair()
    ring.loses = lambda data, source, to: b"announce_peer" in data
    assert ring.announce(a, b"svc", 1337) == AnnounceFinished(2, 0, Refusal.ALL_FAILED)


def test_a_lone_grape_serves_its_own_services() -> None:
    ring = Ring()
    a = ring.add(0)
    assert ring.events[a] == [Ready()]
    assert ring.announce(a, b"svc", 1337).stored == 1
    assert ring.lookup(a, b"svc") == {(a[0], 1337)}
    assert ring.trace == []


def test_peers_age_out() -> None:
    ring, a, b = pair()
    ring.announce(a, b"svc", 1337)
    ring.run(120.0 * 4 / 3 - 1)
    assert ring.lookup(b, b"svc") == {(a[0], 1337)}
    ring.run(1.0)
    assert ring.lookup(b, b"svc") == set()
    assert ring.lookup(a, b"svc") == set()


def test_two_lookups_of_one_name_are_one() -> None:
    ring, a, _ = pair()
    node = ring.nodes[a]
    first = node.lookup(b"svc", now_s=ring.now_s)
    assert node.lookup(b"svc", now_s=ring.now_s) == first
    assert node.lookup(b"other", now_s=ring.now_s) != first
    ring.finish(a, first)
    assert node.lookup(b"svc", now_s=ring.now_s) != first


def test_a_lost_datagram_is_sent_again() -> None:
    ring, a, b = pair()
    lost: list[bytes] = []

    def loses_first(data: bytes, source: Address, to: Address) -> bool:
        if source == a and data not in lost:
            lost.append(data)
            return True
        return False

    ring.loses = loses_first
    assert ring.announce(a, b"svc", 1337).stored == 1
    assert ring.lookup(b, b"svc") == {(a[0], 1337)}


def test_a_bad_token_is_refused() -> None:
    ring, a, b = pair()
    query = b"d1:ad2:id20:%b9:info_hash3:svc4:porti1e5:token3:bade1:q13:announce_peer1:t1:x1:y1:qe"
    ring.send(query % ring.nodes[a].node_id, source=a, to=b)
    ring.run(0.1)
    answer = b"d1:eli203e37:cannot `announce_peer` with bad tokene1:t1:x1:y1:ee"
    assert (b, a, answer) in ring.trace
    assert ring.lookup(b, b"svc") == set()


def test_an_item_with_a_bad_token_is_refused() -> None:
    ring, a, b = pair()
    query = b"d1:ad2:id20:%b5:token3:bad1:v1:ve1:q3:put1:t1:x1:y1:qe"
    ring.send(query % ring.nodes[a].node_id, source=a, to=b)
    ring.run(0.1)
    assert (b, a, b"d1:eli203e27:cannot `put` with bad tokene1:t1:x1:y1:ee") in ring.trace
    assert len(ring.nodes[b].items) == 0


def test_a_token_outlives_one_rotation_of_the_secrets() -> None:
    ring, a, _ = pair()
    ring.run(-ring.now_s % TOKEN_ROTATION_S + TOKEN_ROTATION_S - 1)
    ring.announce(a, b"svc", 1337)
    ring.run(2.0)
    ring.trace.clear()
    ring.announce(a, b"svc", 1337)
    assert not any(b"get_peers" in data for _, _, data in ring.trace)


# Joining.


def test_a_dead_bootstrap_entry_costs_less_than_a_second_and_only_when_it_is_all_there_is() -> None:
    ring = Ring()
    a = ring.add(0, bootstrap=[8, 9])
    begun_s = ring.now_s
    assert ring.announce(a, b"svc", 1337).stored == 1
    assert ring.now_s - begun_s < 1.0
    ring.add(1)
    b = ring.add(2, bootstrap=[1, 9])
    ring.run(1.0)
    begun_s = ring.now_s
    ring.lookup(b, b"svc")
    assert ring.now_s - begun_s < 0.01


def test_a_dead_bootstrap_entry_is_called_ever_more_rarely() -> None:
    ring = Ring()
    ring.add(0, bootstrap=[9])
    ring.run(10.0)
    early = len(ring.trace)
    ring.run(60.0)
    assert early >= 6
    assert 60 / RETRY_S_MAX <= len(ring.trace) - early <= 2 * 60 / RETRY_S_MAX + 2


def test_the_dead_that_others_still_name_cost_only_the_first_lookup() -> None:
    """Nobody but the seeker noticed: its neighbours go on naming the dead node."""
    ring = circle(4)
    seeker, *_, victim = ring.nodes
    ring.kill(victim)
    for first in (True, False):
        begun_s = ring.now_s
        ring.lookup(seeker, b"svc")
        assert (ring.now_s - begun_s > 0.05) is first
        ring.run(1.0)
    others = [node for address, node in ring.nodes.items() if address != seeker]
    assert all(victim in [contact.address for contact in node.table] for node in others)


def test_ready_comes_when_the_first_look_around_ends() -> None:
    ring, a, b = pair()
    for address in (a, b):
        assert Ready() in ring.events[address]


def test_ready_comes_also_when_nobody_answers() -> None:
    ring = Ring()
    a = ring.add(0, bootstrap=[9])
    ring.run(BOOTSTRAP_PATIENCE_S - 0.01)
    assert Ready() not in ring.events[a]
    ring.run(0.02)
    assert ring.events[a] == [Ready()]


def test_a_grape_that_starts_late_is_found_by_those_that_wait_for_it() -> None:
    ring = Ring()
    a = ring.add(0, bootstrap=[1])
    ring.run(30.0)
    b = ring.add(1)
    ring.run(RETRY_S_MAX + 1.0)
    assert [contact.address for contact in ring.nodes[a].table] == [b]
    assert [contact.address for contact in ring.nodes[b].table] == [a]


def test_a_grape_that_lists_itself_does_not_mind() -> None:
    ring = Ring()
    a = ring.add(0, bootstrap=[0])
    ring.run(BOOTSTRAP_PATIENCE_S + 1)
    assert len(ring.nodes[a].table) == 0
    ring.trace.clear()
    ring.run(RETRY_S_MAX * 2)
    assert ring.trace == []


def test_two_halves_that_lost_each_other_join_again() -> None:
    ring, a, b = pair()
    ring.loses = lambda data, source, to: True
    ring.lookup(a, b"svc")
    ring.lookup(b, b"svc")
    assert len(ring.nodes[a].table) == len(ring.nodes[b].table) == 0
    ring.loses = lambda data, source, to: False
    ring.run(2 * RETRY_S_MAX)
    assert len(ring.nodes[a].table) == len(ring.nodes[b].table) == 1
    ring.announce(a, b"svc", 1337)
    assert ring.lookup(b, b"svc") == {(a[0], 1337)}


def test_a_silent_contact_is_pinged_and_forgotten_when_it_is_dead() -> None:
    ring = Ring(settings=DhtSettings(port=PORT, liveness_s=30.0))
    a, b = ring.add(0), ring.add(1, bootstrap=[0])
    ring.run(1.0)
    ring.run(100.0)
    assert len(ring.nodes[a].table) == 1
    ring.kill(b)
    ring.run(40.0)
    assert len(ring.nodes[a].table) == 0


# Whom to believe.


def test_a_stranger_enters_the_table_only_by_answering() -> None:
    """Datagrams under 1,000 ids from an address that never answers leave no trace in the table."""
    ring = Ring()
    a = ring.add(0)
    for i in range(1_000):
        query = Query(b"x", i.to_bytes(20, "big"), Ping())
        ring.send(encode_message(query), source=(f"10.9.{i >> 8}.{i & 255}", 1), to=a)
    ring.run(10.0)
    assert len(ring.nodes[a].table) == 0
    pinged = {to for source, to, data in ring.trace if b"4:ping" in data}
    assert len(pinged) == GREETINGS_MAX
    ring.check()


def test_the_id_that_counts_is_the_one_in_the_answer() -> None:
    ring = Ring()
    a, b = ring.add(0), ring.add(1)
    claim = Query(b"x", b"c" * 20, Ping())
    ring.send(encode_message(claim), source=b, to=a)
    ring.run(0.1)
    assert list(ring.nodes[a].table) == [Contact(ring.nodes[b].node_id, b)]
    assert NodeAdded(Contact(ring.nodes[b].node_id, b)) in ring.events[a]


def test_an_answer_nobody_asked_for_is_ignored() -> None:
    ring = Ring()
    a = ring.add(0)
    for i in range(1, 100):
        response = Response(i.to_bytes(2, "big"), b"r" * 20)
        ring.send(encode_message(response), source=address_of(5), to=a)
    ring.run(1.0)
    assert len(ring.nodes[a].table) == 0


def test_a_flood_from_one_source_is_cut_and_others_are_served() -> None:
    ring, a, b = pair()
    flooder = ("10.9.9.9", 1)
    query = encode_message(Query(b"x", b"f" * 20, FindNode(bytes(20))))
    for _ in range(10_000):
        ring.send(query, source=flooder, to=a)
    assert ring.announce(b, b"svc", 1).stored == 1
    ring.run(0.1)
    answers = sum(to == flooder for _, to, _ in ring.trace)
    assert 2_000 <= answers < 2_500


def test_a_timer_that_comes_late_blames_nobody() -> None:
    """The process slept for a minute: the answers that wait in the socket still count."""
    ring, a, _ = pair()
    number = ring.nodes[a].lookup(b"svc", now_s=ring.now_s)
    ring.collect(a)
    ring.nodes[a].handle_timer(now_s=ring.now_s + 60.0)
    assert len(ring.nodes[a].table) == 1
    ring.now_s += 60.0
    ring.finish(a, number)
    assert len(ring.nodes[a].table) == 1


# Items.


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


# Fifty nodes.


def test_fifty_nodes_find_everything_from_everywhere() -> None:
    ring = circle(50)
    source = random.Random(2)
    addresses = list(ring.nodes)
    for i in range(30):
        announcer, seeker = source.sample(addresses, 2)
        name = source.randbytes(source.choice([1, 8, 20, 21, 200]))
        assert ring.announce(announcer, name, 1_000 + i).stored == K
        assert ring.lookup(seeker, name) == {(announcer[0], 1_000 + i)}
    ring.check()


def test_announcements_go_to_the_nearest_of_all() -> None:
    ring = circle(50)
    announcer = next(iter(ring.nodes))
    ring.announce(announcer, b"service", 1)
    others = [node for address, node in ring.nodes.items() if address != announcer]
    others.sort(key=lambda node: point(node.node_id) ^ point(b"service"))
    stored = [node for node in others if len(node.peers)]
    assert stored == others[:K]


def test_with_one_of_ten_killed_and_one_datagram_of_twenty_lost_lookups_still_find() -> None:
    ring = circle(50)
    source = random.Random(3)
    addresses = list(ring.nodes)
    for i, address in enumerate(addresses):
        ring.announce(address, b"svc%d" % i, 1)
    for address in source.sample(addresses, 5):
        ring.kill(address)
    ring.loses = lambda data, source_, to: source.random() < 0.05
    for i, address in enumerate(addresses):
        seeker = source.choice(list(ring.nodes))
        begun_s = ring.now_s
        assert ring.lookup(seeker, b"svc%d" % i) == {(address[0], 1)}
        assert ring.now_s - begun_s < 2.0
    ring.check()


def test_one_seed_gives_one_history() -> None:
    first, second = circle(10, seed=7), circle(10, seed=7)
    assert first.trace == second.trace
    assert first.trace != circle(10, seed=8).trace


def test_a_datagram_that_cannot_be_answered_is_survived() -> None:
    """Every byte of a real query replaced by every kind of garbage: the node lives on."""
    ring, a, b = pair()
    source = random.Random(4)
    seen = [data for _, _, data in circle(3).trace]
    for _ in range(2_000):
        data = bytearray(source.choice(seen))
        for _ in range(source.randrange(1, 5)):
            data[source.randrange(len(data))] = source.randrange(256)
        ring.send(bytes(data[: source.randrange(len(data) + 1)]), source=b, to=a)
        ring.run(0.002)
    ring.check()
    ring.announce(a, b"svc", 1)
    assert ring.lookup(b, b"svc") == {(a[0], 1)}
    for _, _, data in ring.trace:
        decode_message(data)  # what we send is always a message
