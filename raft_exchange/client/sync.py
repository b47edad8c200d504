"""The client for programs without an event loop: the same methods, which return when done."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar

from raft_exchange.client import administration, calls
from raft_exchange.client.call import Call
from raft_exchange.client.client import ExchangeClient, describe
from raft_exchange.client.sender import PATIENCE_S
from raft_exchange.client.signing import SigningKey
from raft_exchange.client.updates import Update

P = ParamSpec("P")
T = TypeVar("T")


def _method(
    build: Callable[P, Call[T]],
) -> Callable[Concatenate[ExchangeClientSync, P], T]:
    """Return a method that sends what `build` gives."""

    def method(self: ExchangeClientSync, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.send(build(*args, **kwargs))

    describe(method, build)
    return method


class ExchangeClientSync:
    """`ExchangeClient`, blocking; its methods may be called from any thread.

    with ExchangeClientSync("http://127.0.0.1:8081") as client:
        print(client.get_book("BTC-USD"))
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
        self._client = ExchangeClient(
            urls,
            key=key,
            account=account,
            ca=ca,
            patience_s=patience_s,
            socket=socket,
            signing_key=signing_key,
            key_id=key_id,
            cluster_id=cluster_id,
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="exchange client", daemon=True
        )
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def send(self, call: Call[T]) -> T:
        """Send what a function of `calls` gives, and return its result."""
        return self._run(self._client.send(call))

    def stream(
        self, channels: Sequence[str], *, from_sequence: int | None = None
    ) -> Iterator[Update]:
        """Give the updates of `channels` for ever: see `ExchangeClient.stream`."""
        return self._each(self._client.stream(channels, from_sequence=from_sequence))

    def read_backup(self) -> Iterator[bytes]:
        """Give the bytes of a snapshot: see `ExchangeClient.read_backup`."""
        return self._each(self._client.read_backup())

    def _each(self, given: AsyncGenerator[T, None]) -> Iterator[T]:
        try:
            while True:
                yield self._run(anext(given))
        except StopAsyncIteration:
            return
        finally:
            self._run(given.aclose())

    def close(self) -> None:
        """Close the connections and end the thread. Idempotent."""
        if self._loop.is_closed():
            return
        self._run(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Awaitable[T]) -> T:
        async def done() -> T:
            return await work

        return asyncio.run_coroutine_threadsafe(done(), self._loop).result()

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
