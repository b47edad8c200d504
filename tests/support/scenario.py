"""The small language of the scenario files: what a trader types, and what the exchange answers.

A file is a list of blocks, parted by empty lines: comments (`# ...`), commands, `----`, answers.
Times are microseconds, prices ticks, quantities lots; `#3` is order 3. Commands:

    account NAME...
    market NAME [signed] [limits]
    deposit|withdraw ACCOUNT AMOUNT ASSET TRANSFER
    operate ACCOUNT [freeze|thaw] [maker_fee=] [taker_fee=] [limits]
    key ACCOUNT KEY SCOPES [signs] [replaces=KEY]
    revoke ACCOUNT KEY
    with KEY COMMAND
    signed COMMAND
    change NAME [status=STATUS] [signed|unsigned] [limits]
    buy|sell ACCOUNT LOTS [@ PRICE] [gtc|ioc|fok] [gtd=TIME] [post] [stp=MODE] [id=LABEL]
                          [stop=PRICE] [show=LOTS]
    buy|sell ACCOUNT spend=VALUE
    oco ACCOUNT buy|sell LOTS @ PRICE ... / buy|sell LOTS stop=PRICE ...
    replace ACCOUNT #ORDER buy|sell LOTS ...
    amend ACCOUNT #ORDER [LOTS] [@ PRICE] [stop=PRICE]
    cancel-after ACCOUNT MICROSECONDS
    cancel ACCOUNT #ORDER|id=LABEL
    cancel-all ACCOUNT [buy|sell]
    time TIME
    book [NAME]
    stops [NAME]

Limits are min_price= max_price= min_quantity= max_quantity= min_notional= max_notional=
max_orders= stp= band= (a band in percent); of an account the last maxima, on=MARKET. The market is
BTC-USD unless `on=MARKET` says otherwise. A market that `settles` has a tick and a lot of 1; fees
(maker_fee= taker_fee=) are in percent, amounts in whole units of the asset. An order without a
price is a market order, `ioc` unless told, or with `stop=` a stop. `book` prints the ladder, worst
sell first, of an iceberg what it shows and in brackets what it hides; `stops` prints who waits,
oldest first: both are looks, not commands.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Final

from raft_exchange.matching.machine import Exchange
from tests.support.scenario_answers import ladder, waiting, write
from tests.support.scenario_commands import DEFAULT_MARKET, read

SEPARATOR: Final = "----"


@dataclass
class Block:
    """Comments and commands as written, and the answers that stand below the separator."""

    lines: list[str]
    answers: list[str]

    def commands(self) -> list[str]:
        return [line for line in self.lines if not line.startswith("# ")]


def parse(text: str) -> list[Block]:
    """Return the blocks of a scenario file."""
    blocks = []
    for part in text.strip().split("\n\n"):
        lines = part.splitlines()
        if SEPARATOR in lines:
            place = lines.index(SEPARATOR)
            blocks.append(Block(lines[:place], lines[place + 1 :]))
        else:
            blocks.append(Block(lines, []))
    return blocks


def unparse(blocks: list[Block]) -> str:
    """Return the file of these blocks."""
    parts = []
    for block in blocks:
        answered = [SEPARATOR, *block.answers] if block.commands() else []
        parts.append("\n".join([*block.lines, *answered]))
    return "\n\n".join(parts) + "\n"


def answer(exchange: Exchange, line: str) -> list[str]:
    """Run one line against `exchange`; return what it answers, a line for each event."""
    words = shlex.split(line)
    if words[0] == "book":
        return ladder(exchange, words[1] if len(words) > 1 else DEFAULT_MARKET)
    if words[0] == "stops":
        return waiting(exchange, words[1] if len(words) > 1 else DEFAULT_MARKET)
    lines = []
    key_id = ""
    is_signed = words[0] == "signed"
    words = words[is_signed:]
    if words[0] == "with":
        _, key_id, *words = words
    for command in read(words):
        refused = exchange.refuse_key(key_id, command) if key_id else None
        if not is_signed:
            refused = refused or exchange.refuse_unsigned(command)
        events = exchange.apply(command) if refused is None else [refused]
        lines += [write(event) for event in events]
        exchange.check()
    return lines
