"""The markets that a new cluster opens by itself.

Every leader that finds an empty exchange proposes all of them. A second market of one name is
refused by the state machine, so it does not matter how many leaders do.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from raft_exchange.matching.limits import PRICE_TICKS_MAX, QUANTITY_LOTS_MAX
from raft_exchange.matching.messages import (
    CommandRefused,
    CreateMarket,
    MarketRules,
    RejectCode,
    SelfTradePrevention,
)
from raft_exchange.sequencer.codec import Request
from raft_exchange.sequencer.outcome import Committed, Outcome, Refused

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


def founding_requests(markets: Sequence[MarketRules]) -> list[Request]:
    """Return the requests that open the markets."""
    return [Request(CreateMarket(rules)) for rules in markets]


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
