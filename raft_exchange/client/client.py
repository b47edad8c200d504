"""The asynchronous client. See `calls` for what its methods take and return."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from raft_exchange.client import administration, calls
from raft_exchange.client.backup import read_backup
from raft_exchange.client.call import Call
from raft_exchange.client.discovery import find_nodes
from raft_exchange.client.sender import PATIENCE_S, Options, Sender, pinned, signer_of
from raft_exchange.client.signing import SigningKey
from raft_exchange.client.stream import read_stream
from raft_exchange.client.updates import Update

P = ParamSpec("P")
T = TypeVar("T")


def _method(
    build: Callable[P, Call[T]],
) -> Callable[Concatenate[ExchangeClient, P], Coroutine[Any, Any, T]]:
    """Return a method that sends what `build` gives."""

    async def method(self: ExchangeClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.send(build(*args, **kwargs))

    describe(method, build)
    return method


def describe(method: Callable[..., object], build: Callable[..., object]) -> None:
    """Give a method the name, the text and, behind `self`, the parameters of a call's function."""
    functools.update_wrapper(method, build)
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(build).parameters.values()
    vars(method)["__signature__"] = inspect.Signature([own, *parameters])


class ExchangeClient:
    """A client of a cluster, given the URLs of some or all of its nodes.

        async with ExchangeClient(["http://127.0.0.1:8081", "http://127.0.0.1:8082"]) as client:
            placed = await client.place_order(
                NewOrder(market="BTC-USD", side="buy", price="100.25", quantity="0.5")
            )

    Every method but `stream` raises `RequestRefused`, `Unavailable` or, where it writes,
    `OutcomeUnknown`; a write takes the `key` of an earlier attempt.

    Args:
        urls: base URLs, in the order they are tried.
        key: the API key; None where the exchange has none.
        account: whom to trade as, in an exchange without keys.
        ca: a PEM file of the authority that signed the nodes' certificates, which alone is
            trusted then; None for the system's authorities.
        patience_s: how long a call may take, all attempts together.
        socket: path of a node's control socket, for its operator: see `calls`, "Operating".
        signing_key: signs each request, in place of `key`: a key pair, or a PEM file with one.
        key_id: the id under which the exchange knows the public key.
        cluster_id: the cluster that requests are signed for; asked of a node if it is "".
    """

    def __init__(  # noqa: PLR0913 - by name, each with a default
        self,
        urls: Sequence[str] | str,
        *,
        key: str | None = None,
        account: str | None = None,
        ca: str | os.PathLike[str] | None = None,
        patience_s: float = PATIENCE_S,
        socket: str | None = None,
        signing_key: str | os.PathLike[str] | SigningKey | None = None,
        key_id: str | None = None,
        cluster_id: str = "",
    ) -> None:
        names = [urls] if isinstance(urls, str) else urls
        signer = signer_of(signing_key, key_id, key)
        options = Options(key, account, pinned(ca), patience_s, socket, signer, cluster_id)
        self._sender = Sender(names, options)

    @classmethod
    async def discover(  # noqa: PLR0913 - by name, each with a default
        cls,
        grape_url: str,
        cluster: str = "exchange",
        *,
        key: str | None = None,
        account: str | None = None,
        ca: str | os.PathLike[str] | None = None,
        patience_s: float = PATIENCE_S,
        signing_key: str | os.PathLike[str] | SigningKey | None = None,
        key_id: str | None = None,
        cluster_id: str = "",
    ) -> Self:
        """Return a client of the nodes that are announced in the DHT.

            client = await ExchangeClient.discover("http://127.0.0.1:30001")

        Args:
            grape_url: the HTTP API of any grape.
            cluster: the cluster's name.
            key: the API key; goes to discovered nodes only over TLS. Who signs needs none.
            account: as for the class.
            ca: as for the class; with it, nodes are asked over TLS, and their certificates must
                name the addresses at which the DHT finds them.
            patience_s: as for the class.
            signing_key: as for the class, and `key_id` and `cluster_id` too.
            key_id: of the signing key.
            cluster_id: best given here: a stranger may say another.

        Raises:
            ValueError: a key without `ca`.
            Unavailable: no node was found.
        """
        urls = await find_nodes(grape_url, cluster, key=key, tls=pinned(ca))
        return cls(
            urls,
            key=key,
            account=account,
            ca=ca,
            patience_s=patience_s,
            signing_key=signing_key,
            key_id=key_id,
            cluster_id=cluster_id,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def node_url(self) -> str:
        """The node that is asked now."""
        return self._sender.nodes.current

    async def send(self, call: Call[T]) -> T:
        """Send what a function of `calls` gives, and return its result."""
        return await self._sender.send(call)

    def stream(
        self, channels: Sequence[str], *, from_sequence: int | None = None
    ) -> AsyncGenerator[Update, None]:
        """Give the updates of `channels` for ever, without a gap or a repeat, from node to node.

            async for update in client.stream(["book:BTC-USD", "trades:BTC-USD", "orders"]):

        It begins with snapshots, or with what came after `from_sequence`. Where more was missed
        than the exchange remembers, a `Resync` says so and snapshots follow.

        Raises:
            RequestRefused: a channel does not exist, or is not for this caller.
            Unavailable: no node could be read from for `patience_s`.
        """
        return read_stream(self._sender, channels, from_sequence=from_sequence)

    def read_backup(self) -> AsyncGenerator[bytes, None]:
        """Give the bytes of a snapshot of the whole state, which the current node writes for it.

        Raises:
            RequestRefused: it is not for this caller.
            Unavailable: the node does not give it whole.
        """
        return read_backup(self._sender)

    async def close(self) -> None:
        """Close the connections."""
        await self._sender.close()

    place_order = _method(calls.place_order)
    check_order = _method(calls.check_order)
    place_orders = _method(calls.place_orders)
    place_oco = _method(calls.place_oco)
    replace_order = _method(calls.replace_order)
    amend_order = _method(calls.amend_order)
    cancel_order = _method(calls.cancel_order)
    cancel_by_client_id = _method(calls.cancel_by_client_id)
    cancel_orders = _method(calls.cancel_orders)
    cancel_after = _method(calls.cancel_after)
    get_order = _method(calls.get_order)
    get_orders = _method(calls.get_orders)
    get_fills = _method(calls.get_fills)
    get_account = _method(calls.get_account)
    get_markets = _method(calls.get_markets)
    get_market = _method(calls.get_market)
    get_book = _method(calls.get_book)
    get_order_book = _method(calls.get_order_book)
    get_trades = _method(calls.get_trades)
    get_ticker = _method(calls.get_ticker)
    get_candles = _method(calls.get_candles)
    get_time = _method(calls.get_time)
    get_cluster = _method(calls.get_cluster)

    create_market = _method(administration.create_market)
    change_market = _method(administration.change_market)
    create_account = _method(administration.create_account)
    get_account_of = _method(administration.get_account_of)
    change_account = _method(administration.change_account)
    deposit = _method(administration.deposit)
    withdraw = _method(administration.withdraw)
    create_key = _method(administration.create_key)
    get_keys = _method(administration.get_keys)
    revoke_key = _method(administration.revoke_key)
    add_member = _method(administration.add_member)
    remove_member = _method(administration.remove_member)
    request_snapshot = _method(administration.request_snapshot)
    hand_over = _method(administration.hand_over)
    drain = _method(administration.drain)
    recover_key = _method(administration.recover_key)
