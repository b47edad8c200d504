"""Whom a node has heard of, who has proved to be one of its cluster, and whom to ask next. Pure.

Everybody may announce anything in the DHT, so an address from there is hearsay: good for being
asked, and for nothing else. Rules:

* What a node knows of others comes from their own statements, each proved with the cluster secret
  over a nonce that was drawn for that question.
* Whoever has proved itself is asked whenever it is due. Of strangers only a few are asked in a
  round, drawn by lot, so that thousands of false announcements cost a bounded effort: they delay
  the true ones, but never shut them out.
* Who does not answer is asked again after a pause that doubles. An address that nobody speaks of
  any more, and that does not answer, is forgotten. All tables are bounded.

An address is a base URL, `http://host:port`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from raft_exchange.raft.formation import Statement

STRANGERS_PER_ROUND_MAX: Final = 4
ASKED_AT_ONCE_MAX: Final = 32
STRANGERS_MAX: Final = 1_024
TRUSTED_MAX: Final = 64
"""Nodes remembered that proved the secret: several clusters' worth of members."""
RETRY_S_MIN: Final = 0.1
RETRY_S_MAX: Final = 5.0
HEARSAY_S_MAX: Final = 60.0
"""An address that nobody speaks of any more, and that does not answer, is forgotten after that."""

Choose = Callable[[Sequence[str], int], list[str]]


class Sighting(msgspec.Struct, frozen=True):
    """The last word of a node, where it was asked, and when it answered."""

    statement: Statement
    url: str
    at_s: float


class _Place(msgspec.Struct):
    """One address; `node_id` is who proved to be there, or empty."""

    spoken_of_s: float
    ask_s: float
    pause_s: float = RETRY_S_MIN
    is_asked: bool = False
    node_id: str = ""


class Candidates:
    """The addresses that were heard of, and the nodes that were found behind them."""

    def __init__(self, *, choose: Choose) -> None:
        """Make an empty table; `choose` draws so many of a sequence, as `random.sample` does."""
        self._choose = choose
        self._strangers: OrderedDict[str, _Place] = OrderedDict()  # spoken of longest ago first
        self._trusted: dict[str, _Place] = {}
        self._sightings: OrderedDict[str, Sighting] = OrderedDict()  # by id, oldest first
        self._own: set[str] = set()

    def __len__(self) -> int:
        """How many addresses are remembered."""
        return len(self._strangers) + len(self._trusted)

    @property
    def strangers(self) -> int:
        """How many of them are hearsay."""
        return len(self._strangers)

    @property
    def trusted(self) -> int:
        """How many of them are of nodes that proved themselves."""
        return len(self._trusted)

    def heard_of(self, urls: Iterable[str], *, now_s: float) -> None:
        """Note that somebody says that a node is there."""
        for url in urls:
            if url in self._own:
                continue
            if (place := self._trusted.get(url)) is not None:
                place.spoken_of_s = now_s
                continue
            place = self._strangers.pop(url, None) or _Place(now_s, now_s)
            place.spoken_of_s = now_s
            if len(self._strangers) >= STRANGERS_MAX:
                self._strangers.popitem(last=False)
            self._strangers[url] = place

    def take_due(self, *, now_s: float) -> list[str]:
        """Return whom to ask in this round; each is asked until it `answered` or `failed`. O(n)."""
        self._forget_hearsay(now_s)
        places = (*self._trusted.values(), *self._strangers.values())
        room = ASKED_AT_ONCE_MAX - sum(place.is_asked for place in places)
        due = [
            [url for url, one in table.items() if not one.is_asked and one.ask_s <= now_s]
            for table in (self._trusted, self._strangers)
        ]
        known = due[0][: max(0, room)]
        count = min(STRANGERS_PER_ROUND_MAX, max(0, room - len(known)), len(due[1]))
        chosen = known + self._choose(due[1], count)
        for url in chosen:
            self._place(url).is_asked = True
        return chosen

    def answered(self, url: str, statement: Statement, *, now_s: float, again_s: float) -> None:
        """Note a node's proved statement; it is asked again at `again_s`."""
        place = self._strangers.pop(url, None) or self._trusted.pop(url, None)
        spoken_of_s = now_s if place is None else place.spoken_of_s
        # It moved, or has two addresses: the one it answered at last is asked, the other rests.
        for other in [u for u, one in self._trusted.items() if one.node_id == statement.id]:
            resting = self._trusted.pop(other)
            resting.node_id, resting.ask_s = "", now_s + RETRY_S_MAX
            self._strangers[other] = resting
        self._sightings.pop(statement.id, None)
        if len(self._sightings) >= TRUSTED_MAX:
            self._sightings.popitem(last=False)
        self._sightings[statement.id] = Sighting(statement, url, now_s)
        self._trusted[url] = _Place(spoken_of_s, again_s, node_id=statement.id)
        while len(self._trusted) > TRUSTED_MAX:
            self._trusted.pop(next(iter(self._trusted)))

    def failed(self, url: str, *, now_s: float) -> None:
        """Note that nobody, or nobody of ours, answered there."""
        if url not in self._trusted and url not in self._strangers:
            return
        place = self._place(url)
        place.is_asked = False
        place.ask_s = now_s + place.pause_s
        place.pause_s = min(RETRY_S_MAX, 2 * place.pause_s)

    def is_own(self, url: str) -> None:
        """Note that the address is our own: it is never asked again."""
        for table in (self._trusted, self._strangers):
            table.pop(url, None)
        if len(self._own) < TRUSTED_MAX:
            self._own.add(url)

    def sightings(self, *, since_s: float) -> list[Sighting]:
        """Return what the nodes said last that answered since then, by id."""
        found = [one for one in self._sightings.values() if one.at_s >= since_s]
        return sorted(found, key=lambda one: one.statement.id)

    def seen_at_s(self, node_id: str) -> float | None:
        """Return when a node last answered; None if it never did or is forgotten."""
        sighting = self._sightings.get(node_id)
        return None if sighting is None else sighting.at_s

    def _place(self, url: str) -> _Place:
        return self._trusted.get(url) or self._strangers[url]

    def _forget_hearsay(self, now_s: float) -> None:
        """A node that answered is remembered as long as it does: then like anything one hears."""
        for table in (self._trusted, self._strangers):
            for url, place in list(table.items()):
                is_silent = place.ask_s <= now_s and place.pause_s >= RETRY_S_MAX
                if place.spoken_of_s < now_s - HEARSAY_S_MAX and is_silent and not place.is_asked:
                    del table[url]
