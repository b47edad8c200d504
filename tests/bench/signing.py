"""What a signature costs each replica: CPU time to apply an order, unsigned, signed, in a batch.

`python -m tests.bench.signing [ORDERS]` prints microseconds for each order, the least of three
runs, entries of 100 orders, decoded from their bytes. Limit orders at random prices, as
`raft-exchange bench` sends them.
"""

from __future__ import annotations

import base64
import json
import random
import sys
import time
from collections.abc import Callable, Iterator

from raft_exchange.decoding.fields import decode_object
from raft_exchange.decoding.order_schema import place_order
from raft_exchange.ed25519 import verify
from raft_exchange.matching.messages import CreateAccount, CreateKey, CreateMarket, KeyKind, Scope
from raft_exchange.matching.versions import VERSIONS
from raft_exchange.sequencer.codec import (
    Batch,
    Request,
    SignedItem,
    SignedRequest,
    decode_batch,
    encode_batch,
)
from raft_exchange.sequencer.signed import Signatures
from raft_exchange.sequencer.state import ReplicatedState
from tests.support.signing import Signer
from tests.support.workload import rules

ENTRY_ORDERS = 100
RUNS = 3
NOW_US = 1_700_000_000_000_000
ANN = Signer("ann-signs", cluster_id="c0ffee")
BTC = rules("BTC-USD")

Bodies = list[dict[str, object]]
Write = Callable[[Bodies], list[Request]]


def bodies(orders: int) -> Iterator[Bodies]:
    choose = random.Random(1)
    for _ in range(orders // ENTRY_ORDERS):
        yield [
            {
                "market": "BTC-USD",
                "side": choose.choice(["buy", "sell"]),
                "type": "limit",
                "quantity": "0.5",
                "price": f"{choose.randrange(95_00, 105_00) / 100:.2f}",
            }
            for _ in range(ENTRY_ORDERS)
        ]


def unsigned(group: Bodies) -> list[Request]:
    decoded = (decode_object(json.dumps(body).encode()) for body in group)
    return [Request(place_order(body, BTC, account="ann")) for body in decoded]


def signed(group: Bodies) -> list[Request]:
    return [sign("/v1/orders", body) for body in group]


def batch(group: Bodies) -> list[Request]:
    more = len(group) - 1
    head = sign("/v1/orders/batch", {"orders": group}, followers=more)
    return [head, *[Request(SignedItem())] * more]


def sign(path: str, body: object, followers: int = 0) -> Request:
    data = json.dumps(body).encode()
    key_id, at, nonce, proof = ANN.headers("POST", path, data, time_us=NOW_US).values()
    asked = SignedRequest(key_id, at, nonce, base64.b64decode(proof), "POST", path, data)
    return Request(asked, followers=followers)


def apply_all(orders: int, write: Write) -> float:
    """CPU microseconds for each order."""
    state = ReplicatedState(signatures=Signatures("c0ffee", verify))
    state.exchange.version = VERSIONS.newest
    key = CreateKey("ann", ANN.key_id, KeyKind.ED25519, ANN.public_key, int(Scope.TRADE), "")
    for command in (CreateMarket(BTC), CreateAccount("ann"), key):
        state.exchange.apply(command)
    entries = [
        encode_batch(Batch("n1", 1, number, write(group)), time_us=NOW_US)
        for number, group in enumerate(bodies(orders), 1)
    ]
    began_s = time.process_time()
    for index, entry in enumerate(entries, 1):
        applied = state.apply(index, 1, *decode_batch(entry))
        assert len(applied.results) == 1 + ENTRY_ORDERS
    took_s = time.process_time() - began_s
    assert state.exchange.order_id == orders, "every order was accepted"
    verify.cache_clear()
    return 1e6 * took_s / orders


def main() -> None:
    orders = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    for name, write in (("unsigned", unsigned), ("signed", signed), ("signed batch", batch)):
        least = min(apply_all(orders, write) for _ in range(RUNS))
        print(f"{name:>12}: {least:6.1f} us of CPU time for each order")


if __name__ == "__main__":
    main()
