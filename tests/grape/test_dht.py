"""The DHT node on virtual time: what nodes do to each other, and how long it takes."""

import random

import pytest

from grape.contact import Address
from grape.events import (
    AnnounceFinished,
    PeerFound,
    Ready,
    Refusal,
    ServiceStored,
)
from grape.items import Item
from grape.krpc import decode_message
from grape.routing import K, point
from grape.storage import TOKEN_ROTATION_S
from tests.support.dht_ring import PORT, Ring, circle, pair

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


def test_inventions_of_many_nodes_do_not_hide_a_peer() -> None:
    """Half of the ring answers with a thousand peers of its own making, before others or after."""
    ring = circle(20)
    announcer, seeker, *others = ring.nodes
    ring.announce(announcer, b"service", 1)
    for number, liar in enumerate(others[::2]):
        lies = tuple((f"192.0.{number}.{port % 250}", port) for port in range(1, 1_001))
        ring.nodes[liar]._answers.peers = lambda *_, lies=lies, **__: lies  # type: ignore
    found = ring.finish(seeker, ring.nodes[seeker].lookup(b"service", now_s=ring.now_s)).peers
    assert (announcer[0], 1) in found[:100], "what callers of the API are told"
    assert len(found) == 901, "100 by each of nine, and the announcer"
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
