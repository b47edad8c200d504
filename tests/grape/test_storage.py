"""What a grape keeps for others: ageing, bounds, fairness, tokens."""

import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from grape.contact import Address
from grape.items import Item
from grape.storage import (
    PEERS_ANSWERED_MAX,
    PEERS_STORED_MAX,
    TOKEN_ROTATION_S,
    FairStore,
    ItemStore,
    PeerStore,
    Tokens,
)

AGE_S = 120.0
LIFE_S = AGE_S * 4 / 3


def peer(number: int, *, port: int = 1) -> Address:
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", port


def test_a_peer_lives_four_thirds_of_the_maximum_age() -> None:
    store = PeerStore(peer_age_s=AGE_S)
    store.add(b"svc", peer(1), now_s=0.0)
    assert store.get(b"svc", now_s=LIFE_S - 0.001) == [peer(1)]
    assert store.get(b"svc", now_s=LIFE_S) == []
    assert len(store) == 0


def test_announcing_again_renews() -> None:
    store = PeerStore(peer_age_s=AGE_S)
    store.add(b"svc", peer(1), now_s=0.0)
    store.add(b"svc", peer(2), now_s=0.0)
    store.add(b"svc", peer(1), now_s=100.0)
    assert store.get(b"svc", now_s=LIFE_S) == [peer(1)]
    store.check()


def test_the_last_announced_come_first_and_at_most_a_hundred() -> None:
    store = PeerStore(peer_age_s=AGE_S)
    for i in range(PEERS_ANSWERED_MAX + 50):
        store.add(b"svc", peer(i), now_s=float(i) / 10)
    found = store.get(b"svc", now_s=20.0)
    assert found == [peer(i) for i in reversed(range(50, PEERS_ANSWERED_MAX + 50))]


def test_one_source_holds_at_most_half_of_the_peers() -> None:
    """A flood from one address displaces its own announcements and nobody else's."""
    store = PeerStore(peer_age_s=AGE_S)
    for i in range(100):
        store.add(b"honest", peer(i), now_s=0.0)
    for i in range(PEERS_STORED_MAX * 2):
        store.add(b"flood%d" % (i // 60_000), peer(9_999, port=i % 60_000 + 1), now_s=1.0)
    store.check()
    assert len(store) == 100 + PEERS_STORED_MAX // 2
    assert len(store.get(b"honest", now_s=2.0)) == 100


def test_long_names_are_bounded_in_bytes() -> None:
    store = PeerStore(peer_age_s=AGE_S)
    for i in range(3_000):
        store.add(b"%08d" % i * 1_000, peer(i), now_s=0.0)
    store.check()
    assert 900 < len(store) < 1_100
    assert store.get(b"%08d" % 2_999 * 1_000, now_s=1.0) == [peer(2_999)]


def test_the_item_not_used_for_longest_gives_way() -> None:
    store = ItemStore(values_max=4)
    items = [Item(v=b"%d" % i) for i in range(5)]
    for i, item in enumerate(items[:4]):
        store.put(item, source=f"10.0.0.{i}", size_bytes=1)
    assert store.get(items[0].target) == items[0]
    store.put(items[4], source="10.0.0.9", size_bytes=1)
    store.check()
    assert store.get(items[1].target) is None
    assert store.get(items[0].target) == items[0]


def test_a_token_is_good_for_its_address_for_five_to_ten_minutes() -> None:
    tokens = Tokens(random.Random(1).randbytes)
    given_s = 1_000 * TOKEN_ROTATION_S
    token = tokens.give("10.0.0.1", now_s=given_s)
    assert tokens.accepts(token, "10.0.0.1", now_s=given_s + 2 * TOKEN_ROTATION_S - 0.001)
    assert not tokens.accepts(token, "10.0.0.2", now_s=given_s)
    assert not tokens.accepts(token, "10.0.0.1", now_s=given_s + 2 * TOKEN_ROTATION_S)


def test_a_token_dies_also_when_nobody_came_by_meanwhile() -> None:
    tokens = Tokens(random.Random(1).randbytes)
    token = tokens.give("10.0.0.1", now_s=0.0)
    assert not tokens.accepts(token, "10.0.0.1", now_s=10 * TOKEN_ROTATION_S)


class FairStoreAgainstLists(RuleBasedStateMachine):
    """The store against a list of (key, value, source), oldest first."""

    def __init__(self) -> None:
        super().__init__()
        self.store: FairStore[int, int] = FairStore(entries_max=8, bytes_max=2_000)
        self.model: list[tuple[int, int, str]] = []

    @rule(key=st.integers(0, 20), value=st.integers(), source=st.sampled_from("abc"))
    def put(self, key: int, value: int, source: str) -> None:
        displaced = self.store.put(key, value, source=source, size_bytes=20)
        self.model = [row for row in self.model if row[0] != key] + [(key, value, source)]
        expected = []
        mine = [row for row in self.model if row[2] == source]
        if len(mine) > 4:
            expected.append(mine[0][0])
            self.model.remove(mine[0])
        if len(self.model) > 8:
            expected.append(self.model.pop(0)[0])
        assert displaced == expected

    @rule(key=st.integers(0, 20))
    def touch(self, key: int) -> None:
        row = next((row for row in self.model if row[0] == key), None)
        assert self.store.get(key) == (row[1] if row else None)
        if row:
            self.store.touch(key)
            self.model.remove(row)
            self.model.append(row)

    @rule(key=st.integers(0, 20))
    def remove(self, key: int) -> None:
        self.store.remove(key)
        self.model = [row for row in self.model if row[0] != key]

    @invariant()
    def agrees(self) -> None:
        self.store.check()
        oldest = self.model[0][:2] if self.model else None
        assert self.store.oldest() == oldest
        assert len(self.store) == len(self.model)


FairStoreAgainstLists.TestCase.settings = settings(max_examples=30, stateful_step_count=40)
TestFairStore = FairStoreAgainstLists.TestCase
