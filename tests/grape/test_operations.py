"""Operations alone: what comes of the answers they hear."""

from grape.contact import Address, Contact
from grape.krpc import PEERS_MAX, Response
from grape.lookup import QUERIES_MAX, Lookup
from grape.operations import PEERS_FOUND_MAX, Search, queries, replied

NAME = b"service"
REAL = ("127.0.0.1", 1_337)


def search(nodes: int) -> tuple[Search, list[Contact]]:
    """A search that has asked this many nodes, in the order they are to answer."""
    contacts = [Contact(bytes([n]) * 20, (f"10.0.0.{n}", 1)) for n in range(1, nodes + 1)]
    begun = Search(1, NAME, lambda target: Lookup(target, contacts, concurrency=QUERIES_MAX))
    return begun, [contact for contact, _ in queries(begun)]


def inventions(liar: int, count: int = PEERS_MAX) -> tuple[Address, ...]:
    return tuple((f"192.0.2.{liar}", port) for port in range(1, count + 1))


def tell(begun: Search, teller: Contact, peers: tuple[Address, ...]) -> None:
    replied(begun, teller, Response(b"", teller.node_id, peers=peers, token=b"t"))


def test_who_answers_first_with_inventions_hides_nobody() -> None:
    begun, (first, *others, last) = search(20)
    tell(begun, first, inventions(0, 1_000))
    for number, teller in enumerate(others, 1):
        tell(begun, teller, inventions(number))
    tell(begun, last, (REAL,))
    found = begun.outcome().peers
    assert found.index(REAL) == 19
    assert len(found) == PEERS_FOUND_MAX


def test_peers_that_several_nodes_tell_are_found_once_and_all() -> None:
    begun, tellers = search(20)
    for teller in tellers:
        tell(begun, teller, inventions(0))
    assert begun.outcome().peers == inventions(0)


def test_our_own_store_has_a_turn_too() -> None:
    begun, tellers = search(20)
    for number, teller in enumerate(tellers):
        tell(begun, teller, inventions(number))
    begun.add_peers((REAL,))
    assert begun.outcome().peers.index(REAL) == 20
