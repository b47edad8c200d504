"""An exchange cluster that cannot disagree with itself.

For programs that trade: `raft_exchange.client`, and `ExchangeNode`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raft_exchange.exchange_node import ExchangeNode

__all__ = ["ExchangeNode", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    # Loaded when asked for: whoever imports a part of the package does not pay for the client.
    if name == "ExchangeNode":
        from raft_exchange.exchange_node import ExchangeNode

        return ExchangeNode
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
