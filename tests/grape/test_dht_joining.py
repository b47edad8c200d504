"""How nodes find the others and whom they believe, on virtual time."""

from grape.bootstrap import RETRY_S_MAX
from grape.contact import Contact
from grape.dht import BOOTSTRAP_PATIENCE_S, GREETINGS_MAX, DhtSettings
from grape.events import NodeAdded, Ready
from grape.krpc import FindNode, Ping, Query, Response, encode_message
from tests.support.dht_ring import PORT, Ring, address_of, circle, pair

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
