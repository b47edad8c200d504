"""What is kept of an applied entry: its trades and the ends of its orders. Pure.

A row is named by `(sequence, index)`: the position of the command in the cluster's log and that
of the event among the command's own. Both are the same on every node and at every replay, so that
a row may be written again, by anybody, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Final

import msgspec

from raft_exchange.matching.messages import OrderEnded, TradeExecuted
from raft_exchange.sequencer.applied import Applied

PAGE_ROWS_MAX: Final = 1_000

Position = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Row(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One trade, or one order as it was when it became final."""

    sequence: Position
    index: Position
    time_us: Position
    event: TradeExecuted | OrderEnded


class Page(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Every row of the sequences `first` to `last`, both included, in order.

    A page with `last` below `first` covers nothing.
    """

    cluster_id: str
    first: Position
    last: Position
    rows: list[Row]


def rows_of(applied: Applied) -> list[Row]:
    """Return the rows of one applied entry, in order.

    A replayed result has none: its events are those of an earlier command.
    """
    rows: list[Row] = []
    for result in applied.results:
        if result.replayed_sequence:
            continue
        for index, event in enumerate(result.events):
            kind = type(event)
            if kind is TradeExecuted or kind is OrderEnded:
                rows.append(Row(result.sequence, index, applied.time_us, event))  # type: ignore[arg-type]
    return rows


def is_sound(page: Page) -> bool:
    """Return whether the rows are in order, each once, and within what the page covers."""
    before = (page.first, -1)
    for row in page.rows:
        if (row.sequence, row.index) <= before or row.sequence > page.last:
            return False
        before = (row.sequence, row.index)
    return True


def positions(rows: Iterable[Row]) -> list[tuple[int, int]]:
    """Return the names of the rows, in order."""
    return [(row.sequence, row.index) for row in rows]
