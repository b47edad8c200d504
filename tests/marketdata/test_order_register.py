"""Orders by id, label and account; bounded, and paged without holding anybody up."""

import random

import msgspec
import pytest

from raft_exchange.marketdata import orders as register_module
from raft_exchange.marketdata.orders import OrderRegister
from raft_exchange.matching.messages import (
    Order,
    OrderStatus,
    OrderType,
    SelfTradePrevention,
    Side,
    TimeInForce,
)


def order(order_id: int, status: OrderStatus = OrderStatus.OPEN, **changes) -> Order:
    made = Order(
        order_id=order_id,
        client_order_id="",
        account="ann",
        market="BTC-USD",
        side=Side.BUY,
        type=OrderType.LIMIT,
        time_in_force=TimeInForce.GTC,
        price_ticks=1,
        quantity_lots=1,
        filled_lots=0,
        filled_value="0",
        expires_at_us=0,
        post_only=False,
        self_trade_prevention=SelfTradePrevention.NONE,
        status=status,
        created_at_us=0,
        updated_at_us=0,
        sequence=order_id,
    )
    return msgspec.structs.replace(made, **changes)


def ids(page: tuple[list[Order], int | None]) -> list[int]:
    return [found.order_id for found in page[0]]


def test_the_order_that_ended_longest_ago_is_forgotten_first() -> None:
    """Live orders are never forgotten, however many end."""
    register = OrderRegister(finished_max=2)
    for order_id in (1, 2, 3, 4):
        register.keep_live(order(order_id))
    for order_id in (3, 1, 4):
        register.finish(order(order_id, OrderStatus.CANCELED))
        register.check()
    assert register.get(3) is None
    assert [register.get(i) is not None for i in (1, 2, 4)] == [True, True, True]
    assert register.last_id == 4


def test_pages_are_newest_first_and_join_without_gap_or_repeat() -> None:
    register = OrderRegister()
    for order_id in range(1, 8):
        register.keep_live(order(order_id))
    first, cursor = register.page("ann", limit=3)
    assert [o.order_id for o in first] == [7, 6, 5]
    register.keep_live(order(8))
    assert ids(register.page("ann", limit=3, before=cursor)) == [4, 3, 2]
    assert register.page("ann", limit=3, before=2) == ([register.get(1)], None)


def test_a_last_page_that_is_just_full_has_no_cursor() -> None:
    register = OrderRegister()
    for order_id in (1, 2):
        register.keep_live(order(order_id))
    assert register.page("ann", limit=2)[1] is None


def test_pages_hold_only_the_account_market_and_status_asked_for() -> None:
    register = OrderRegister()
    register.keep_live(order(1))
    register.keep_live(order(2, account="bob"))
    register.keep_live(order(3, market="ETH-USD"))
    register.finish(order(4, OrderStatus.FILLED))
    assert ids(register.page("ann", limit=9)) == [4, 3, 1]
    assert ids(register.page("ann", limit=9, market="BTC-USD")) == [4, 1]
    assert ids(register.page("ann", limit=9, statuses={OrderStatus.FILLED})) == [4]
    assert ids(register.page("nobody", limit=9)) == []


def test_a_label_used_again_finds_all_its_kept_orders() -> None:
    register = OrderRegister()
    register.finish(order(1, OrderStatus.FILLED, client_order_id="x"))
    register.keep_live(order(2, client_order_id="y"))
    register.keep_live(order(3, client_order_id="x"))
    register.keep_live(order(4, client_order_id="x", account="bob"))
    assert ids(register.page("ann", limit=9, client_order_id="x")) == [3, 1]
    assert ids(register.page("ann", limit=9, client_order_id="x", before=3)) == [1]


def test_a_rare_filter_ends_its_page_after_a_bounded_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty page with a cursor: the caller goes on, the node never stalls."""
    monkeypatch.setattr(register_module, "LISTING_SCAN_MAX", 4)
    register = OrderRegister()
    for order_id in range(1, 11):
        register.keep_live(order(order_id, market="ETH-USD" if order_id == 2 else "BTC-USD"))
    found, cursor = register.page("ann", limit=9, market="ETH-USD")
    assert (found, cursor) == ([], 7)
    found, cursor = register.page("ann", limit=9, market="ETH-USD", before=cursor)
    assert (found, cursor) == ([], 3)
    assert ids(register.page("ann", limit=9, market="ETH-USD", before=cursor)) == [2]


@pytest.mark.parametrize("seed", range(5))
def test_the_indexes_agree_through_any_history(seed: int) -> None:
    rng = random.Random(seed)
    register = OrderRegister(finished_max=20)
    live: list[Order] = []
    for order_id in range(1, 500):
        label = rng.choice(("", "x", "y"))
        made = order(order_id, account=rng.choice(("ann", "bob")), client_order_id=label)
        if rng.random() < 0.3:
            register.finish(msgspec.structs.replace(made, status=OrderStatus.EXPIRED))
        else:
            register.keep_live(made)
            live.append(made)
        while live and rng.random() < 0.45:
            ended = live.pop(rng.randrange(len(live)))
            register.finish(msgspec.structs.replace(ended, status=OrderStatus.CANCELED))
        register.check()
