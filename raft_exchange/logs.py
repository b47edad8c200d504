"""What a node writes to its standard error: lines for people, or one JSON object for each.

In JSON every line has `time` (RFC 3339, UTC), `level`, `logger`, `event` and `node`; `exception`
where there is one; and whatever a caller gives as `extra`, such as `request_id`, `trace_id` and
`sequence`. Nothing is taken from the context a line happens to be written in: many requests share
one tick, and none of them is its cause.
"""

from __future__ import annotations

import logging
import sys
from typing import Final, TextIO

from pythonjsonlogger.msgspec import MsgspecFormatter

TEXT: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"
FIELDS: Final = ("levelname", "name", "message")
NAMES: Final = {
    "levelname": "level",
    "name": "logger",
    "message": "event",
    "exc_info": "exception",
}


class NodeLog:
    """The log of this process; `name` the node as soon as its id is known.

    Args:
        level: the name of the least level that is written.
        is_json: whether lines are for programs.
        name: of the node, until its id is known.
        stream: where to.
    """

    def __init__(
        self, *, level: str, is_json: bool, name: str, stream: TextIO | None = None
    ) -> None:
        handler = logging.StreamHandler(sys.stderr if stream is None else stream)
        self._json: MsgspecFormatter | None = None
        if is_json:
            self._json = MsgspecFormatter(FIELDS, rename_fields=NAMES, timestamp="time")
            handler.setFormatter(self._json)
        else:
            handler.setFormatter(logging.Formatter(TEXT))
        logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
        self.name_node(name)

    def name_node(self, node: str) -> None:
        """Have every line name the node so."""
        if self._json is not None:
            self._json.static_fields = {"node": node}
