"""What listens at start, and which setting is to blame where it cannot."""

from __future__ import annotations

import errno
import socket
from collections.abc import Awaitable


class WrongSetting(Exception):
    """This machine does not allow what a setting says; the message names the setting."""


async def bind(start: Awaitable[None], *, host: str, port: str) -> None:
    """Await `start`; say which of two settings is to blame where it cannot listen.

    Raises:
        WrongSetting: with the name of the setting.
    """
    try:
        await start
    except OSError as error:
        raise blame(error, host=host, port=port) from error


def blame(error: OSError, *, host: str, port: str) -> WrongSetting:
    """Return what says that one of two settings made `error`."""
    is_host = isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL
    return WrongSetting(f"{host if is_host else port}: cannot listen: {error.strerror}")


def probe_tcp(host: str, port: int) -> None:
    """Take a TCP port for a moment: what cannot be bound later on is better told now.

    Raises:
        WrongSetting: it is `raft_host` or `raft_port`, which are bound once there is a group.
    """
    try:
        address = socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_STREAM)[0][4]
        with socket.create_server(address):
            pass
    except OSError as error:
        raise blame(error, host="raft_host", port="raft_port") from error
