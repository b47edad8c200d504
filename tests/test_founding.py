"""The founding list: proposed as it is, and loud about what did not come of it."""

from __future__ import annotations

import logging

import pytest

from raft_exchange.founding import RETRY_S, Founding, founding_rules, log_founded
from raft_exchange.matching.machine import Exchange
from raft_exchange.matching.messages import CommandRefused, MarketChanged, RejectCode
from raft_exchange.sequencer.outcome import Committed, Outcome, Refusal, Refused, Unknown

BTC = founding_rules("BTC-USD", tick_size_e18=10**16, lot_size_e18=10**10)


def refused(code: RejectCode) -> Committed:
    return Committed(1, 0, (CommandRefused(code, "market"),), replayed=False)


def test_the_exchange_takes_what_is_proposed() -> None:
    exchange = Exchange()
    (request,) = Founding([BTC], settles=False).requests
    (event,) = exchange.apply(request.command)
    assert isinstance(event, MarketChanged)
    assert (event.rules.base, event.rules.quote, event.rules.settles) == ("BTC", "USD", False)


def test_with_balances_it_waits_until_all_members_know_them() -> None:
    exchange, founding = Exchange(), Founding([BTC], settles=True)
    assert not founding.is_due((), version=1, now_s=0.0)
    assert founding.is_due((), version=2, now_s=0.0)
    exchange.version = 2
    (request,) = founding.requests
    (event, *_) = exchange.apply(request.command)
    assert isinstance(event, MarketChanged)
    assert event.rules.settles


def test_it_is_proposed_again_until_it_is_in() -> None:
    founding = Founding([BTC], settles=False)
    assert founding.is_due((), version=1, now_s=0.0)
    assert not founding.is_due((), version=1, now_s=RETRY_S / 2), "it is on its way"
    founding.answered([Unknown()])
    assert founding.is_due((), version=1, now_s=RETRY_S)
    founding.answered([refused(RejectCode.LIMIT_REACHED)])
    assert not founding.is_due((), version=1, now_s=9.0), "it was decided"


def test_an_exchange_with_markets_is_founded() -> None:
    founding = Founding([BTC], settles=False)
    assert not founding.is_due(("BTC-USD",), version=1, now_s=0.0)
    assert not Founding([], settles=False).is_due((), version=1, now_s=0.0)


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (refused(RejectCode.LIMIT_REACHED), "founding market BTC-USD refused: limit_reached"),
        (Refused(Refusal.OVERLOADED, "full"), "founding market BTC-USD not proposed: overloaded"),
    ],
)
def test_a_market_that_was_not_opened_is_logged(
    outcome: Outcome, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    log_founded([BTC], [outcome])
    (record,) = caplog.records
    assert record.levelno >= logging.WARNING
    assert record.message.startswith(said)


@pytest.mark.parametrize("outcome", [refused(RejectCode.ALREADY_EXISTS), Unknown()])
def test_that_another_leader_was_first_is_no_news(
    outcome: Outcome, caplog: pytest.LogCaptureFixture
) -> None:
    log_founded([BTC], [outcome])
    assert not caplog.records
