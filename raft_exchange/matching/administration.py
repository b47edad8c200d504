"""What operators change: accounts and markets."""

from __future__ import annotations

from operator import attrgetter

from raft_exchange.matching.accounts import FEES
from raft_exchange.matching.filters import (
    amount_of,
    changed_rules,
    is_name,
    is_transfer_id,
    refuse_rules,
)
from raft_exchange.matching.limits import ACCOUNTS_MAX, AMOUNT_MAX, MARKETS_MAX
from raft_exchange.matching.messages import (
    ANONYMOUS,
    AccountChanged,
    AccountCreated,
    ApiKey,
    ChangeAccount,
    ChangeMarket,
    CommandRefused,
    CreateAccount,
    CreateKey,
    CreateMarket,
    Deposit,
    EndReason,
    Event,
    KeyChanged,
    MarketChanged,
    MarketStatus,
    RejectCode,
    RevokeKey,
    TransferMade,
    Withdraw,
)
from raft_exchange.matching.risk import changed_settings, refuse_settings
from raft_exchange.matching.state import State
from raft_exchange.matching.transfers import Transfer


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
    opens_fees = rules.settles and FEES not in state.live.accounts
    if opens_fees and len(state.live.accounts) >= ACCOUNTS_MAX:
        return [CommandRefused(RejectCode.LIMIT_REACHED, "account")]
    market = state.open_market(rules, MarketStatus.TRADING)
    events: list[Event] = [MarketChanged(rules, market.status)]
    if opens_fees:
        state.live.open_account(FEES)
        events.append(AccountCreated(FEES))
    return events


def change_market(state: State, command: ChangeMarket) -> list[Event]:
    """Change the status, the limits and the fees of a market, or end all its orders."""
    market = state.markets.get(command.market)
    if market is None:
        return [CommandRefused(RejectCode.UNKNOWN_MARKET, "market")]
    rules = changed_rules(market.rules, command)
    if (refused := refuse_rules(rules)) is not None:
        return [refused]
    state.rule(market, rules)
    if command.status is not None:
        market.status = command.status
    events: list[Event] = [MarketChanged(rules, market.status)]
    if command.cancel_orders:
        chosen = [order for order in state.live.by_id.values() if order.market == command.market]
        chosen.sort(key=attrgetter("order_id"))
        events += state.end_all(chosen, EndReason.CANCELED_BY_OPERATOR)
    return events


def change_account(state: State, command: ChangeAccount) -> list[Event]:
    """Change an account's settings; freezing it ends all its orders."""
    account = state.live.accounts.get(command.account)
    if account is None:
        return [CommandRefused(RejectCode.UNKNOWN_ACCOUNT, "account")]
    if (refused := refuse_settings(command, state.markets)) is not None:
        return [refused]
    account.settings = changed_settings(account.settings, command)
    events: list[Event] = [AccountChanged(command.account, account.settings)]
    if account.settings.frozen:
        orders = state.live.of_account(command.account, None, side=None)
        events += state.end_all(orders, EndReason.CANCELED_BY_OPERATOR)
    return events


def create_key(state: State, command: CreateKey) -> list[Event]:
    """Give an account a key, in place of an older one where the command says so."""
    if command.account not in state.live.accounts:
        return [CommandRefused(RejectCode.UNKNOWN_ACCOUNT, "account")]
    if (refused := state.keys.refuse_new(command)) is not None:
        return [refused]
    key = ApiKey(command.key_id, command.key_kind, command.secret, command.scopes, state.time_us, 0)
    events: list[Event] = []
    if command.replaces:
        revoked = state.keys.revoke(command.replaces, state.time_us)
        events.append(KeyChanged(command.account, revoked))
    state.keys.add(command.account, key)
    events.append(KeyChanged(command.account, key))
    return events


def revoke_key(state: State, command: RevokeKey) -> list[Event]:
    """Make a key worthless."""
    if command.account not in state.live.accounts:
        return [CommandRefused(RejectCode.UNKNOWN_ACCOUNT, "account")]
    if state.keys.good(command.account, command.key_id) is None:
        return [CommandRefused(RejectCode.UNKNOWN_KEY, "key_id")]
    return [KeyChanged(command.account, state.keys.revoke(command.key_id, state.time_us))]


def transfer(state: State, command: Deposit | Withdraw) -> list[Event]:
    """Bring money into an account or take it out, once for each transfer id."""
    refused = _refuse_transfer_shape(state, command)
    if refused is not None:
        return [refused]
    account, asset, transfer_id = command.account, command.asset, command.transfer_id
    is_deposit = isinstance(command, Deposit)
    made = state.transfers.get(account, transfer_id)
    if made is None:
        if (refused := _refuse_transfer(state, command)) is not None:
            return [refused]
        move = state.ledger.enter if is_deposit else state.ledger.leave
        move(account, asset, int(command.amount))
        made = Transfer(
            account,
            transfer_id,
            asset,
            command.amount,
            is_deposit,
            state.sequence,
            state.time_us,
        )
        state.transfers.add(made)
    elif (made.asset, made.amount, made.is_deposit) != (asset, command.amount, is_deposit):
        return [CommandRefused(RejectCode.IDEMPOTENCY_MISMATCH, "transfer_id")]
    return [
        TransferMade(
            account, asset, made.amount, transfer_id, is_deposit, made.sequence, made.time_us
        )
    ]


def _refuse_transfer_shape(state: State, command: Deposit | Withdraw) -> CommandRefused | None:
    if not is_transfer_id(command.transfer_id):
        return CommandRefused(RejectCode.BAD_FIELD, "transfer_id")
    if amount_of(command.amount) is None:
        return CommandRefused(RejectCode.OUT_OF_RANGE, "amount")
    if command.account not in state.live.accounts:
        return CommandRefused(RejectCode.UNKNOWN_ACCOUNT, "account")
    if command.account == ANONYMOUS:
        return CommandRefused(RejectCode.INVALID_COMBINATION, "account")
    return None


def _refuse_transfer(state: State, command: Deposit | Withdraw) -> CommandRefused | None:
    asset, amount = command.asset, int(command.amount)
    markets = state.markets.values()
    if not any(asset in (market.rules.base, market.rules.quote) for market in markets):
        return CommandRefused(RejectCode.BAD_FIELD, "asset")
    if isinstance(command, Deposit):
        if state.ledger.totals.get(asset, 0) + amount > AMOUNT_MAX:
            return CommandRefused(RejectCode.LIMIT_REACHED, "amount")
    elif state.ledger.free(command.account, asset) < amount:
        return CommandRefused(RejectCode.INSUFFICIENT_FUNDS, "amount")
    return None
