"""Finding a cluster through the DHT.

Anyone can announce there, so that what is found is a candidate: an address is kept if it answers
`GET /v1/cluster` with the cluster's name, and that proves nothing to speak of. A key is therefore
given to discovered nodes only over TLS, to whom an authority vouches for that the caller chose.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Final

from raft_exchange.client import calls
from raft_exchange.client.errors import ExchangeError, Unavailable
from raft_exchange.client.sender import Options, Sender

SERVICE_PREFIX: Final = "raft_exchange_nodes:"
CANDIDATES_MAX: Final = 32
ASK_S_MAX: Final = 2.0


async def find_nodes(
    grape_url: str, cluster: str, *, key: str | None, tls: ssl.SSLContext | None
) -> list[str]:
    """Return the base URLs of the nodes of `cluster` that answer.

    Args:
        grape_url: the HTTP API of any grape.
        cluster: the cluster's name.
        key: the API key that the client will send; it is not sent here.
        tls: trusts the authority of the nodes' certificates, and nothing else.

    Raises:
        ValueError: a key without `tls`: whoever announces the name would get it.
        Unavailable: no grape answers, nobody announces the cluster, or no node answers.
    """
    # Only who looks nodes up waits for the DHT's modules.
    from grape.envelope import GrenacheError
    from grape.link import Link

    if key is not None and tls is None:
        raise ValueError("a key goes to discovered nodes only over TLS: name their authority, ca")
    try:
        async with Link([grape_url]) as link:
            found = await link.lookup(SERVICE_PREFIX + cluster)
    except GrenacheError as error:
        raise Unavailable(f"{grape_url}: {error}") from None
    scheme = "http" if tls is None else "https"
    urls = [f"{scheme}://{address}" for address in found[:CANDIDATES_MAX]]
    answers = await asyncio.gather(*(_is_node(url, cluster, tls) for url in urls))
    nodes = [url for url, is_node in zip(urls, answers, strict=True) if is_node]
    if not nodes:
        listed = ", ".join(urls)
        raise Unavailable(f"none of {listed} answers as a node of {cluster!r}")
    return nodes


async def _is_node(url: str, cluster: str, tls: ssl.SSLContext | None) -> bool:
    sender = Sender([url], Options(tls=tls, patience_s=ASK_S_MAX))
    try:
        return (await sender.send(calls.get_cluster())).cluster == cluster
    except ExchangeError:
        return False
    finally:
        await sender.close()
