"""`raft-exchange order`: place, cancel, amend, replace, show and list one's own orders."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Final

import msgspec

from raft_exchange.cli import Commands
from raft_exchange.cli.connection import (
    UsageError,
    add_connection,
    add_market,
    add_repetition,
    ask,
    moment,
    write_key,
)
from raft_exchange.cli.tables import order_table, show, trade_table
from raft_exchange.client import (
    ExchangeClientSync,
    NewOrder,
    Order,
    OrderPage,
    Placed,
    Switch,
    Trade,
)

TYPES: Final = ("limit", "market", "stop", "stop_limit")
TIMES_IN_FORCE: Final = ("gtc", "ioc", "fok", "gtd")
SELF_TRADE_PREVENTIONS: Final = ("expire_taker", "expire_maker", "expire_both", "decrement", "none")


def add_command(commands: Commands) -> None:
    """Declare the command and what it does."""
    parser = commands.add_parser(
        "order", help="place, cancel, amend, replace, show, list", description=__doc__
    )
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    _add_place(actions)
    _add_cancel(actions)
    _add_amend(actions)
    _add_replace(actions)
    _add_oco(actions)
    _add_cancel_after(actions)
    shown = actions.add_parser("show", help="show one order")
    shown.add_argument("order_id")
    add_connection(shown)
    shown.set_defaults(run=run_show)
    listed = actions.add_parser("list", help="list orders, newest first")
    listed.add_argument("--market", "-m", metavar="NAME", help="only of this market")
    listed.add_argument("--status", help="only these, comma-separated: open,partially_filled,…")
    listed.add_argument("--limit", type=int, default=50, help="how many, 1-1000 (50)")
    listed.add_argument("--cursor", help="go on where the page before ended")
    add_connection(listed)
    listed.set_defaults(run=run_list)


def decimal(text: str) -> Decimal:
    """Return the number in an argument.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise argparse.ArgumentTypeError(f"{text!r} is no decimal number")
    return number


def _add_place(actions: Commands) -> None:
    place = actions.add_parser(
        "place",
        help="place an order: `order place buy 0.5 100.25`",
        description="Place an order. Without a price it is a market order.",
    )
    _add_terms(place)
    place.add_argument("--dry-run", action="store_true", help="say what would be refused only")
    add_repetition(place)
    add_connection(place)
    place.set_defaults(run=run_place)


def _add_terms(parser: argparse.ArgumentParser) -> None:
    """Give a command the arguments that say what an order is."""
    parser.add_argument("side", choices=("buy", "sell"))
    parser.add_argument("quantity", type=decimal, nargs="?", help="how much of the base asset")
    parser.add_argument("price", type=decimal, nargs="?", help="limit price; none: a market order")
    add_market(parser)
    parser.add_argument("--type", choices=TYPES)
    parser.add_argument("--quote-quantity", type=decimal, help="spend this much of the quote asset")
    parser.add_argument("--time-in-force", choices=TIMES_IN_FORCE)
    parser.add_argument("--expires-at", type=moment, help="for gtd; RFC 3339")
    parser.add_argument("--post-only", action="store_true", default=None, help="never take")
    parser.add_argument("--stop-price", type=decimal)
    parser.add_argument("--display-quantity", type=decimal, help="show only so much (iceberg)")
    parser.add_argument("--self-trade-prevention", choices=SELF_TRADE_PREVENTIONS)
    parser.add_argument("--label", help="your own name for it (client_order_id)")


def _add_cancel(actions: Commands) -> None:
    cancel = actions.add_parser("cancel", help="cancel one order, or all")
    cancel.add_argument("order_id", nargs="?")
    cancel.add_argument("--label", help="the order of this name instead")
    cancel.add_argument("--all", action="store_true", help="all live orders")
    cancel.add_argument("--market", "-m", metavar="NAME", help="with --all: only of this market")
    cancel.add_argument("--side", choices=("buy", "sell"), help="with --all: only of this side")
    add_repetition(cancel)
    add_connection(cancel)
    cancel.set_defaults(run=run_cancel)


def _add_amend(actions: Commands) -> None:
    amend = actions.add_parser("amend", help="change price or quantity of an order")
    amend.add_argument("order_id")
    amend.add_argument("--price", type=decimal)
    amend.add_argument("--quantity", type=decimal, help="the new total, what is filled included")
    amend.add_argument("--stop-price", type=decimal)
    add_repetition(amend)
    add_connection(amend)
    amend.set_defaults(run=run_amend)


def _add_replace(actions: Commands) -> None:
    replace = actions.add_parser(
        "replace",
        help="cancel an order and place another in one step: `order replace 7 buy 0.5 100.25`",
        description="Cancel an order and place another, as one step or not at all.",
    )
    replace.add_argument("order_id")
    _add_terms(replace)
    add_repetition(replace)
    add_connection(replace)
    replace.set_defaults(run=run_replace)


def _add_oco(actions: Commands) -> None:
    oco = actions.add_parser(
        "oco",
        help="a limit order and a stop of which one cancels the other: `order oco sell 1 110 90`",
        description="Place a limit order and a stop of the same size; one ends the other.",
    )
    oco.add_argument("side", choices=("buy", "sell"))
    oco.add_argument("quantity", type=decimal, help="how much of the base asset")
    oco.add_argument("price", type=decimal, help="of the limit order")
    oco.add_argument("stop_price", type=decimal, help="at which the other becomes a market order")
    add_market(oco)
    oco.add_argument("--self-trade-prevention", choices=SELF_TRADE_PREVENTIONS)
    add_repetition(oco)
    add_connection(oco)
    oco.set_defaults(run=run_oco)


def _add_cancel_after(actions: Commands) -> None:
    switch = actions.add_parser(
        "cancel-after",
        help="cancel all orders unless this is said again in time",
        description="Dead-man switch: all orders are canceled after so many seconds of the logged "
        "clock, unless this is said again before. 0 disarms.",
    )
    switch.add_argument("seconds", type=int)
    add_repetition(switch)
    add_connection(switch)
    switch.set_defaults(run=run_cancel_after)


def _order_of(arguments: argparse.Namespace) -> NewOrder:
    """Return the order that the arguments say.

    Raises:
        UsageError: not how much, or twice.
    """
    if (arguments.quantity is None) == (arguments.quote_quantity is None):
        raise UsageError("give a quantity, or --quote-quantity")
    return NewOrder(
        market=arguments.market,
        side=arguments.side,
        quantity=arguments.quantity,
        price=arguments.price,
        type=arguments.type,
        quote_quantity=arguments.quote_quantity,
        time_in_force=arguments.time_in_force,
        expires_at=arguments.expires_at,
        post_only=arguments.post_only,
        stop_price=arguments.stop_price,
        display_quantity=arguments.display_quantity,
        self_trade_prevention=arguments.self_trade_prevention,
        client_order_id=arguments.label,
    )


def run_place(arguments: argparse.Namespace) -> int:
    """Place an order."""

    def place(client: ExchangeClientSync) -> Placed | dict[str, str]:
        order = _order_of(arguments)
        if arguments.dry_run:
            client.check_order(order)
            return {"check": "it would be taken"}
        return client.place_order(order, key=write_key(arguments))

    return ask(arguments, place, _show_placed)


def run_amend(arguments: argparse.Namespace) -> int:
    """Change an order."""
    changes = (arguments.price, arguments.quantity, arguments.stop_price)

    def amend(client: ExchangeClientSync) -> Placed | dict[str, str]:
        if all(change is None for change in changes):
            raise UsageError("give --price, --quantity or --stop-price")
        return client.amend_order(
            arguments.order_id,
            price=arguments.price,
            quantity=arguments.quantity,
            stop_price=arguments.stop_price,
            key=write_key(arguments),
        )

    return ask(arguments, amend, _show_placed)


def run_replace(arguments: argparse.Namespace) -> int:
    """Cancel an order and place another."""
    return ask(
        arguments,
        lambda client: client.replace_order(
            arguments.order_id, _order_of(arguments), key=write_key(arguments)
        ),
        lambda replaced: _show_orders([replaced.replaced, replaced.order], replaced.trades),
    )


def run_oco(arguments: argparse.Namespace) -> int:
    """Place a limit order and a stop."""
    limit = NewOrder(
        market=arguments.market,
        side=arguments.side,
        quantity=arguments.quantity,
        type="limit",
        price=arguments.price,
        self_trade_prevention=arguments.self_trade_prevention,
    )
    stop = msgspec.structs.replace(limit, type="stop", price=None, stop_price=arguments.stop_price)
    return ask(
        arguments,
        lambda client: client.place_oco(limit, stop, key=write_key(arguments)),
        lambda pair: _show_orders(pair.orders, pair.trades),
    )


def run_cancel_after(arguments: argparse.Namespace) -> int:
    """Arm or disarm the dead-man switch."""

    def show_switch(switch: Switch) -> None:
        at = switch.cancel_at
        show("disarmed" if at is None else f"all orders are canceled at {at.isoformat()}")

    return ask(
        arguments,
        lambda client: client.cancel_after(arguments.seconds, key=write_key(arguments)),
        show_switch,
    )


def run_cancel(arguments: argparse.Namespace) -> int:
    """Cancel one order or all."""
    named = (arguments.order_id is not None, arguments.label is not None, arguments.all)

    def cancel(client: ExchangeClientSync) -> list[Order]:
        if named.count(True) != 1:
            raise UsageError("name one: an order's number, --label or --all")
        if not arguments.all and (arguments.market or arguments.side):
            raise UsageError("--market and --side go with --all")
        key = write_key(arguments)
        if arguments.all:
            found = client.cancel_orders(market=arguments.market, side=arguments.side, key=key)
            return found.canceled
        if arguments.label is not None:
            return [client.cancel_by_client_id(arguments.label, key=key).order]
        return [client.cancel_order(arguments.order_id, key=key).order]

    return ask(arguments, cancel, lambda orders: show(order_table(orders)))


def run_show(arguments: argparse.Namespace) -> int:
    """Show one order."""
    return ask(
        arguments,
        lambda client: client.get_order(arguments.order_id),
        lambda order: show(order_table([order])),
    )


def run_list(arguments: argparse.Namespace) -> int:
    """List orders."""

    def show_page(page: OrderPage) -> None:
        show(order_table(page.orders))
        if page.cursor is not None:
            show(f"more: --cursor {page.cursor}")

    return ask(
        arguments,
        lambda client: client.get_orders(
            market=arguments.market,
            status=arguments.status,
            limit=arguments.limit,
            cursor=arguments.cursor,
        ),
        show_page,
    )


def _show_placed(placed: Placed | dict[str, str]) -> None:
    if isinstance(placed, dict):
        show(placed["check"])
        return
    _show_orders([placed.order], placed.trades)


def _show_orders(orders: Sequence[Order], trades: Sequence[Trade]) -> None:
    show(order_table(orders))
    if trades:
        show(trade_table(trades))
