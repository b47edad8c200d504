"""The trading commands as a trader types them, on a real node."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.coroutines import in_loop
from tests.support.processes import Client, RealCluster, free_ports

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


class Terminal:
    """Runs commands against one cluster."""

    def __init__(self, *urls: str) -> None:
        self._url = ",".join(urls)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "raft_exchange", *arguments, "--url", self._url]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    def says(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done
        assert done.stderr == ""
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.says(*arguments, "--json"))

    def refuses(self, *arguments: str, exit_code: int) -> str:
        done = self.run(*arguments)
        assert done.returncode == exit_code, done
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
        return done.stderr


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    with RealCluster(tmp_path_factory.mktemp("terminal"), nodes=1) as running:

        @in_loop
        async def ready() -> None:
            async with Client(running) as client:
                await client.ready()

        ready()
        yield running


@pytest.fixture
def terminal(node: RealCluster) -> Terminal:
    return Terminal(node.urls[0])


def test_a_trader_trades(terminal: Terminal) -> None:
    placed = terminal.json("order", "place", "sell", "0.50", "100.25", "--label", "mine")
    assert (placed["order"]["status"], placed["order"]["quantity"]) == ("open", "0.5")
    order_id = placed["order"]["order_id"]
    book = terminal.says("book")
    assert "100.25" in book
    assert "█" in book
    taken = terminal.says("order", "place", "buy", "0.2")
    assert "filled" in taken
    assert "100.25" in taken
    (trade,) = terminal.json("trades")
    assert (trade["price"], trade["quantity"]) == ("100.25", "0.2")
    amended = terminal.json("order", "amend", order_id, "--price", "101", "--quantity", "0.4")
    assert (amended["order"]["price"], amended["order"]["remaining_quantity"]) == ("101", "0.2")
    assert "partially_filled" in terminal.says("order", "show", order_id)
    (canceled,) = terminal.json("order", "cancel", "--label", "mine")
    assert canceled["status"] == "canceled"
    listed = terminal.says("order", "list", "--limit", "1")
    assert "more: --cursor" in listed
    assert "the book is empty" in terminal.says("book")


def test_a_trader_replaces_hedges_and_arms_the_switch(terminal: Terminal) -> None:
    account = ("--account", "hedger")
    old = terminal.json("order", "place", "buy", "1", "10", *account)["order"]["order_id"]
    replaced = terminal.json("order", "replace", old, "buy", "2", "11", *account)
    assert (replaced["replaced"]["order_id"], replaced["replaced"]["status"]) == (old, "canceled")
    assert (replaced["order"]["price"], replaced["order"]["quantity"]) == ("11", "2")
    pair = terminal.says("order", "oco", "sell", "1", "900", "5", *account)
    assert "stop" in pair
    assert "pending" in pair
    assert "canceled at 20" in terminal.says("order", "cancel-after", "60", *account)
    assert terminal.json("order", "cancel-after", "0", *account)["cancel_at"] is None
    assert "seconds" in terminal.refuses("order", "cancel-after", "-1", *account, exit_code=1)
    assert len(terminal.json("order", "cancel", "--all", *account)) == 3


def test_every_order_of_a_side_is_canceled(terminal: Terminal) -> None:
    account = ("--account", "ann")
    for price in ("90", "91"):
        terminal.json("order", "place", "buy", "1", price, *account)
    canceled = terminal.json("order", "cancel", "--all", "--side", "buy", *account)
    assert [order["price"] for order in canceled] == ["90", "91"]


def test_a_market_is_opened_halted_and_listed(terminal: Terminal) -> None:
    terminal.says("market", "open", "ETH-USD", "0.5", "0.001", "--min-notional", "10")
    assert "halt" in terminal.says("market", "change", "ETH-USD", "--status", "halt")
    markets = {market["market"]: market for market in terminal.json("market", "list")}
    assert markets["ETH-USD"]["min_notional"] == "10"
    said = terminal.refuses("order", "place", "buy", "1", "10", "-m", "ETH-USD", exit_code=1)
    assert said.startswith("raft-exchange: refused: market_halted: ")


def test_a_refusal_says_what_was_wrong_and_exits_1(terminal: Terminal) -> None:
    said = terminal.refuses("order", "place", "buy", "1", "100.001", exit_code=1)
    assert said == (
        "raft-exchange: refused: off_tick: price is no whole number of steps "
        "(price: '100.001'); allowed: multiples of 0.01\n"
    )
    told = json.loads(terminal.refuses("order", "cancel", "999999", "--json", exit_code=1))
    assert told["error"]["code"] == "unknown_order"
    assert "it would be taken" in terminal.says("order", "place", "buy", "1", "1", "--dry-run")
    assert terminal.json("order", "list", "--status", "open")["orders"] == []


@pytest.mark.parametrize(
    ("command", "names"),
    [
        (("order", "place", "buy", "41abc", "1"), "'41abc' is no decimal number"),
        (("order", "place", "buy"), "--quote-quantity"),
        (("order", "place", "hold", "1"), "hold"),
        (("order", "cancel"), "--all"),
        (("order", "cancel", "1", "--side", "buy"), "--side"),
        (("order", "amend", "1"), "--price"),
        (("order", "place", "buy", "1", "1", "--repeat", "k"), "--until"),
        (("book", "--key-file", "/no/such/file"), "--key-file"),
        (("market", "change", "BTC-USD"), "--status"),
    ],
)
def test_wrong_usage_names_what_is_wrong_and_exits_2(
    terminal: Terminal, command: tuple[str, ...], names: str
) -> None:
    assert names in terminal.refuses(*command, exit_code=2)


def test_nodes_are_tried_in_turn(node: RealCluster) -> None:
    dead = f"http://127.0.0.1:{free_ports(1)[0]}"
    assert Terminal(dead, node.urls[0]).json("market", "list")
    said = Terminal(dead).refuses("book", "--timeout", "0.5", exit_code=1)
    assert said.startswith("raft-exchange: no node answered: ")
    assert Terminal("nonsense").run("book").returncode == 2


def test_an_order_of_unknown_outcome_can_be_asked_for(terminal: Terminal) -> None:
    """As told by a node that was cut off: the same command, with what it named."""
    until = "2999-01-01T00:00:00+00:00"
    again = ("--repeat", "k1", "--until", until, "--account", "bob")
    first = terminal.json("order", "place", "buy", "1", "50", *again)
    assert terminal.json("order", "place", "buy", "1", "50", *again) == first
    assert len(terminal.json("order", "list", "--account", "bob")["orders"]) == 1


def test_tables_are_whole_where_the_output_is_a_file(terminal: Terminal, tmp_path: Path) -> None:
    label = "x" * 60
    said = terminal.says("order", "place", "buy", "0.12345678", "77.77", "--label", label)
    for part in ("0.12345678", "77.77", label):
        assert part in said
