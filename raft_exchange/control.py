"""The control socket of a node: `control.sock` in its data folder, for its operator on the machine.

Who may open the file (its owner alone) needs no key, so this is also the way back in for who lost
every key. HTTP over a Unix socket; `raft-exchange cluster-admin --socket DIR` speaks it:

    curl --unix-socket DIR/control.sock -X POST http://node/keys

`POST /keys` makes a key with every scope for the account `admin`, through the log, shown only here.
The routes under `/v1/cluster` are those of the node, for an operator: members, leadership, backup,
drain.
"""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec
from aiohttp import web

from raft_exchange.decoding.errors import ErrorCode, Problem
from raft_exchange.first_key import ADMIN_ACCOUNT, admin_key_requests
from raft_exchange.gateway.rendering import JSON_TYPE
from raft_exchange.matching.messages import CommandRefused
from raft_exchange.sequencer.outcome import Committed, Core, Refused

SOCKET_FILE: Final = "control.sock"
HOST: Final = "node"
"""What a client calls the node, for want of an address."""
OWNER_ONLY: Final = 0o177
"""What is masked from the mode of the socket: 0600 is left."""


class Control:
    """Serves the socket while its context is open.

    Args:
        folder: the data folder, which this process has locked.
        app: what is served besides `/keys`.
        core: makes keys.
    """

    def __init__(self, folder: Path, app: web.Application, core: Core) -> None:
        self._path = folder / SOCKET_FILE
        self._core = core
        app.router.add_post("/keys", self._post_key)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.SockSite(self._runner, _listen(self._path)).start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._runner.cleanup()
        self._path.unlink(missing_ok=True)

    async def _post_key(self, request: web.Request) -> web.Response:
        key, key_id = f"rx_{secrets.token_urlsafe(32)}", f"recovered-{secrets.token_hex(8)}"
        outcome = (await self._core.submit(admin_key_requests(key, key_id)))[-1]
        match outcome:
            case Committed(events=(CommandRefused(code=code), *_)):
                raise Problem(ErrorCode(code.value), "the exchange refused the key")
            case Committed():
                shown = {"account": ADMIN_ACCOUNT, "id": key_id, "bearer": key}
                return web.Response(
                    body=msgspec.json.encode(shown), status=201, content_type=JSON_TYPE
                )
            case Refused(code=refusal, detail=detail):
                raise Problem(ErrorCode(refusal.value), detail)
        raise Problem(ErrorCode.OUTCOME_UNKNOWN, "whether the key was made is unknown; ask again")


def _listen(path: Path) -> socket.socket:
    """Return a socket under `path`; what an earlier process left there is replaced."""
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX)
    folder = os.open(path.parent, os.O_PATH)  # names of sockets are short, those of folders not
    mask = os.umask(OWNER_ONLY)
    try:
        listening.bind(f"/proc/self/fd/{folder}/{path.name}")
    except OSError:
        listening.close()
        raise
    finally:
        os.umask(mask)
        os.close(folder)
    return listening
