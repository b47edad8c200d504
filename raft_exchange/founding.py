"""The markets that a new cluster opens by itself.

Every leader that finds an empty exchange proposes all of them. A second market of one name is
refused by the state machine, so it does not matter how many leaders do. A list that says what an
earlier release cannot read (balances, signed orders) waits until all members run a release that
does.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from raft_exchange.matching.limits import PRICE_TICKS_MAX, QUANTITY_LOTS_MAX
from raft_exchange.matching.messages import (
    CommandRefused,
    CreateMarket,
    MarketRules,
    RejectCode,
    SelfTradePrevention,
)
from raft_exchange.sequencer.codec import RELEASE, Request
from raft_exchange.sequencer.outcome import Committed, Outcome, Refused

RETRY_S: Final = 1.0

logger = logging.getLogger(__name__)


def founding_rules(market: str, *, tick_size_e18: int, lot_size_e18: int) -> MarketRules:
    """Return the rules of `BASE-QUOTE`: the widest limits, no minimal amount."""
    base, _, quote = market.partition("-")
    return MarketRules(
        market=market,
        base=base,
        quote=quote,
        tick_size_e18=tick_size_e18,
        lot_size_e18=lot_size_e18,
        price_ticks_min=1,
        price_ticks_max=PRICE_TICKS_MAX,
        quantity_lots_min=1,
        quantity_lots_max=QUANTITY_LOTS_MAX,
        notional_min=0,
        self_trade_prevention=SelfTradePrevention.EXPIRE_TAKER,
    )


class Founding:
    """Proposed at most every `RETRY_S` until an outcome is in, or there is a market.

    Args:
        markets: their rules.
        settles: whether balances back their orders.
        signed_orders: whether their orders must be signed.
    """

    def __init__(
        self, markets: Sequence[MarketRules], *, settles: bool, signed_orders: bool = False
    ) -> None:
        self._markets = [
            msgspec.structs.replace(rules, settles=settles, signed_orders=signed_orders)
            for rules in markets
        ]
        self.requests: Sequence[Request] = [Request(CreateMarket(r)) for r in self._markets]
        self._version_min = RELEASE.needed_by(list(self.requests))
        self._next_s = float("-inf")
        self._is_settled = not markets

    def is_due(self, markets: Collection[str], *, version: int, now_s: float) -> bool:
        """Say whether the leader should propose it now, and note that it does.

        `markets` are those that there are; `version` is the active one: it may not be able to say
        all of the list yet.
        """
        if self._is_settled or markets or now_s < self._next_s or version < self._version_min:
            return False
        self._next_s = now_s + RETRY_S
        return True

    def answered(self, outcomes: Sequence[Outcome]) -> None:
        """Take what became of a proposal; once committed, it is not made again."""
        self._is_settled |= all(isinstance(outcome, Committed) for outcome in outcomes)
        log_founded(self._markets, outcomes)


def log_founded(markets: Sequence[MarketRules], outcomes: Sequence[Outcome]) -> None:
    """Say which markets were not opened, and why; another leader may have opened them before."""
    for rules, outcome in zip(markets, outcomes, strict=True):
        match outcome:
            case Committed(events=(CommandRefused(code=RejectCode.ALREADY_EXISTS),)):
                pass
            case Committed(events=(CommandRefused(code=code, field=field),)):
                logger.error("founding market %s refused: %s (%s)", rules.market, code, field)
            case Refused(code=refusal, detail=detail):
                logger.warning(
                    "founding market %s not proposed: %s (%s)", rules.market, refusal, detail
                )
