"""How fresh a read is: local by default, bounded or linearizable on demand, and always labelled.

`X-Sequence` is the last whole entry this node has applied; folding does not yield, so no handler
ever sees half an entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from raft_exchange.decoding.errors import ErrorCode, Problem
from raft_exchange.decoding.order_schema import RulesOf, market_name
from raft_exchange.gateway.bodies import bad_parameter, whole_number
from raft_exchange.gateway.context import Context
from raft_exchange.gateway.submission import committed
from raft_exchange.marketdata.view import Market
from raft_exchange.sequencer.outcome import Unknown

FRESHNESS: Final = ("consistency", "min_sequence", "max_age")
CONSISTENCIES: Final = ("local", "linearizable")
MIN_SEQUENCE_WAIT_S: Final = 2.0


async def freshen(context: Context, query: Mapping[str, str]) -> None:
    """Wait until this node is as fresh as the query asks.

    Raises:
        Problem: `behind`, or why no barrier could be passed; `bad_field`.
    """
    if not query:
        return
    consistency = query.get("consistency", "local")
    if consistency not in CONSISTENCIES:
        raise bad_parameter("consistency", consistency, list(CONSISTENCIES))
    if (text := query.get("min_sequence")) is not None:
        sequence = whole_number("min_sequence", text)
        if not await context.core.wait_for_sequence(sequence, timeout_s=MIN_SEQUENCE_WAIT_S):
            raise _behind(
                "this node has not applied that sequence number yet", "min_sequence", text
            )
    if consistency == "linearizable":
        await pass_barrier(context)
    if (text := query.get("max_age")) is not None:
        age_ms_max = whole_number("max_age", text)
        age_ms = context.core.status().leader_contact_age_ms
        if age_ms is None or age_ms > age_ms_max:
            raise _behind("this node has not heard of the leader that recently", "max_age", text)


async def pass_barrier(context: Context) -> None:
    """Return once everything committed before now is applied here.

    Raises:
        Problem: `no_leader` and the like, or `behind` when it took too long.
    """
    outcome = await context.core.barrier()
    if isinstance(outcome, Unknown):
        raise Problem(ErrorCode.BEHIND, "this node could not prove in time that it is up to date")
    committed(outcome)


def _behind(detail: str, field: str, value: str) -> Problem:
    return Problem(ErrorCode.BEHIND, detail, field=field, value=value)


def read_headers(context: Context) -> dict[str, str]:
    """Return the headers of an answer read from this node's projection."""
    headers = {"X-Sequence": str(context.marketdata.sequence)}
    age_ms = context.core.status().leader_contact_age_ms
    if age_ms is not None:
        headers["X-Age-Ms"] = str(age_ms)
    return headers


def known_market(context: Context, name: str) -> Market:
    """Return a market that this node knows.

    Raises:
        Problem: `unknown_market`.
    """
    market = context.marketdata.markets.get(name)
    if market is None:
        raise Problem(
            ErrorCode.UNKNOWN_MARKET,
            "no market has this name; GET /v1/markets lists them",
            field="market",
            value=name,
        )
    return market


async def market_named(context: Context, value: object) -> Market:
    """Return a market; where this node does not know it, look again after a barrier.

    A client may name what it created through another node a moment ago: only a node that has
    caught up may say that there is no such thing.

    Raises:
        Problem: `unknown_market`, `bad_field`, or this node cannot catch up.
    """
    name = market_name(value)
    if name not in context.marketdata.markets:
        await pass_barrier(context)
    return known_market(context, name)


def rules_of(context: Context) -> RulesOf:
    """Return how decoders find the rules of the markets that this node knows."""
    return lambda name: known_market(context, name).rules
