"""The first key of a cluster: how its first operator gets in.

The leader of a cluster without any good key of the scope `admin` proposes the key of its
`admin_key_file`, for the account `admin`. Its id is the same on every node and whoever leads, so a
second proposal is refused by the state machine, and so is a first key that was revoked since: what
an operator has revoked does not come back with a restart. (Who has lost every key of that scope
makes a new one through the control socket of a node.)
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from raft_exchange.listening import WrongSetting
from raft_exchange.marketdata.keys import KeyRegister
from raft_exchange.matching.keys import SCOPES_ALL
from raft_exchange.matching.messages import (
    CommandRefused,
    CreateAccount,
    CreateKey,
    KeyKind,
    RejectCode,
)
from raft_exchange.sequencer.codec import RELEASE, Request
from raft_exchange.sequencer.outcome import Committed, Outcome, Refused

ADMIN_ACCOUNT: Final = "admin"
FIRST_KEY_ID: Final = "first-key"
KEY_CHARS_MIN: Final = 32
KEY_CHARS_MAX: Final = 256
RETRY_S: Final = 1.0

_logger = logging.getLogger(__name__)


def read_key(path: Path) -> str:
    """Return the key in a file, without surrounding white space.

    Raises:
        WrongSetting: unreadable, or no such key.
    """
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise WrongSetting(f"admin_key_file: cannot read {str(path)!r}: {error}") from error
    if not KEY_CHARS_MIN <= len(text) <= KEY_CHARS_MAX or not text.isprintable() or " " in text:
        raise WrongSetting(
            f"admin_key_file: {str(path)!r} holds no key; allowed: {KEY_CHARS_MIN}-{KEY_CHARS_MAX} "
            "printable ASCII characters without spaces"
        )
    return text


def admin_key_requests(key: str, key_id: str) -> list[Request]:
    """Return the requests that make `key` one of the account of operators, with every scope."""
    digest = hashlib.sha256(key.encode()).digest()
    created = CreateKey(ADMIN_ACCOUNT, key_id, KeyKind.BEARER, digest, SCOPES_ALL, "")
    return [Request(CreateAccount(ADMIN_ACCOUNT)), Request(created)]


class FirstKey:
    """Proposed at most every `RETRY_S` until it is in, or there is another."""

    def __init__(self, key: str) -> None:
        """Take the key as its holder shows it; only its digest goes further."""
        self.requests: Sequence[Request] = admin_key_requests(key, FIRST_KEY_ID)
        self._version_min = RELEASE.needed_by(list(self.requests))
        self._next_s = 0.0
        self._is_settled = False

    def is_due(self, keys: KeyRegister, *, version: int, now_s: float) -> bool:
        """Say whether the leader should propose it now, and note that it does.

        `version` is the active one: until all members read keys, there are none.
        """
        if self._is_settled or now_s < self._next_s or version < self._version_min:
            return False
        self._next_s = now_s + RETRY_S
        self._is_settled = keys.has_admin
        return not self._is_settled

    def answered(self, outcomes: Sequence[Outcome]) -> None:
        """Take what became of a proposal."""
        match outcomes[-1]:
            case Committed(events=(CommandRefused(code=RejectCode.ALREADY_EXISTS),)):
                self._is_settled = True
            case Committed(events=(CommandRefused(code=code, field=field), *_)):
                self._is_settled = True
                _logger.error("admin_key_file: the key was refused: %s (%s)", code, field)
            case Committed():
                self._is_settled = True
                _logger.info("the key of admin_key_file is the first of account admin")
            case Refused(code=code, detail=detail):
                _logger.warning("admin_key_file: not proposed: %s (%s)", code, detail)
