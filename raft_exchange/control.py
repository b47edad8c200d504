"""The control socket of a node: `control.sock` in its data folder, for its operator on the machine.

Who may open the file (its owner alone) needs no key, so this is also the way back in for who lost
every key. HTTP over a Unix socket, one route for each thing:

    curl --unix-socket DIR/control.sock -X POST http://node/keys

`POST /keys` makes a key with every scope for the account `admin`, through the log, shown only here;
`POST /leader` hands leadership over; `POST /drain` stops the node as SIGTERM does.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec
from aiohttp import web

from raft_exchange.first_key import ADMIN_ACCOUNT, admin_key_requests
from raft_exchange.matching.messages import CommandRefused
from raft_exchange.sequencer.outcome import Committed, Core, Refused

SOCKET_FILE: Final = "control.sock"
OWNER_ONLY: Final = 0o177
"""What is masked from the mode of the socket: 0600 is left."""


class Control:
    """Serves the socket while its context is open.

    Args:
        folder: the data folder, which this process has locked.
        core: makes keys.
        hand_over: begins to give up leadership.
        stop: has the node drain and end.
    """

    def __init__(
        self,
        folder: Path,
        core: Core,
        *,
        hand_over: Callable[[], None],
        stop: Callable[[], None],
    ) -> None:
        self._path = folder / SOCKET_FILE
        self._core = core
        self._hand_over = hand_over
        self._stop = stop
        app = web.Application()
        app.router.add_post("/keys", self._post_key)
        app.router.add_post("/leader", self._post_leader)
        app.router.add_post("/drain", self._post_drain)
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
                return _said(409, f"the exchange refused the key: {code.value}")
            case Committed():
                shown = {"account": ADMIN_ACCOUNT, "id": key_id, "bearer": key}
                return _answer(201, shown)
            case Refused(detail=detail):
                return _said(503, detail)
        return _said(503, "whether the key was made is unknown; ask for another")

    async def _post_leader(self, request: web.Request) -> web.Response:
        status = self._core.status()
        if status.role != "leader":
            return _said(409, f"this node does not lead; {status.leader or 'nobody'} does")
        self._hand_over()
        return _said(202, "handing over; GET /v1/cluster shows when another node leads")

    async def _post_drain(self, request: web.Request) -> web.Response:
        self._stop()
        return _said(202, "draining; the process ends when it is done")


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


def _said(status: int, detail: str) -> web.Response:
    return _answer(status, {"detail": detail})


def _answer(status: int, view: dict[str, str]) -> web.Response:
    body = msgspec.json.encode(view)
    return web.Response(body=body, status=status, content_type="application/json")
