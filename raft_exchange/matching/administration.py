"""What operators change: accounts and markets."""

from __future__ import annotations

from raft_exchange.matching.book import Book
from raft_exchange.matching.filters import changed_rules, is_name, refuse_rules
from raft_exchange.matching.limits import ACCOUNTS_MAX, MARKETS_MAX
from raft_exchange.matching.messages import (
    AccountCreated,
    ChangeMarket,
    CommandRefused,
    CreateAccount,
    CreateMarket,
    Event,
    MarketChanged,
    MarketStatus,
    RejectCode,
)
from raft_exchange.matching.state import Market, State


def create_account(state: State, command: CreateAccount) -> list[Event]:
    """Open an account."""
    if not is_name(command.account):
        return [CommandRefused(RejectCode.BAD_FIELD, "account")]
    if command.account in state.live.accounts:
        return [CommandRefused(RejectCode.ALREADY_EXISTS, "account")]
    if len(state.live.accounts) >= ACCOUNTS_MAX:
        return [CommandRefused(RejectCode.LIMIT_REACHED, "account")]
    state.live.open_account(command.account)
    return [AccountCreated(command.account)]


def create_market(state: State, command: CreateMarket) -> list[Event]:
    """Open a market, trading at once."""
    rules = command.rules
    if (refused := refuse_rules(rules)) is not None:
        return [refused]
    if rules.market in state.markets:
        return [CommandRefused(RejectCode.ALREADY_EXISTS, "market")]
    if len(state.markets) >= MARKETS_MAX:
        return [CommandRefused(RejectCode.LIMIT_REACHED, "market")]
    market = Market(rules, MarketStatus.TRADING, Book(rules.market))
    state.markets[rules.market] = market
    return [MarketChanged(rules, market.status)]


def change_market(state: State, command: ChangeMarket) -> list[Event]:
    """Change the status and the limits of a market."""
    market = state.markets.get(command.market)
    if market is None:
        return [CommandRefused(RejectCode.UNKNOWN_MARKET, "market")]
    rules = changed_rules(market.rules, command)
    if (refused := refuse_rules(rules)) is not None:
        return [refused]
    market.rules = rules
    if command.status is not None:
        market.status = command.status
    return [MarketChanged(rules, market.status)]
