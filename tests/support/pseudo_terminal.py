"""A program on a pseudo-terminal: what it draws, and keys for it."""

from __future__ import annotations

import codecs
import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from typing import Final

PATIENCE_S: Final = 120.0
ROWS: Final = 50
COLUMNS: Final = 160
_CONTROL: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>78]")
_BEGUN: Final = re.compile(r"\x1b(\[[0-9;?]*)?\Z")
"""A control sequence whose end is not read yet: the terminal hands on 4 KiB at a time."""


class PseudoTerminal:
    """`screen` is everything drawn so far, without colours and cursor movements."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process = process
        self._master = master
        self.screen = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._begun = ""

    def wait_for(self, text: str, *, after: int = 0) -> int:
        """Read until `text` is drawn behind position `after`; return where it ends."""
        deadline_s = time.monotonic() + PATIENCE_S
        while (at := self.screen.find(text, after)) < 0:
            code = self.process.poll()
            if not self._read():
                assert code is None, f"it ended with {code}, without {text!r}:\n{self._end}"
            assert time.monotonic() < deadline_s, f"no {text!r} in:\n{self._end}"
        return at + len(text)

    @property
    def _end(self) -> str:
        return self.screen[-4_000:]

    def press(self, key: bytes) -> None:
        os.write(self._master, key)

    def end(self) -> int:
        """Wait for the program to end by itself; return its exit code."""
        deadline_s = time.monotonic() + PATIENCE_S
        while self.process.poll() is None:
            assert time.monotonic() < deadline_s, f"the program goes on:\n{self._end}"
            self._read()
        return self.process.returncode

    def _read(self) -> bool:
        """Take what is drawn, if anything is within 0.1 s."""
        ready, _, _ = select.select([self._master], [], [], 0.1)
        with contextlib.suppress(OSError):  # the program closed its side
            if ready:
                drawn = self._begun + self._decoder.decode(os.read(self._master, 65_536))
                begun = _BEGUN.search(drawn)
                self._begun = begun.group() if begun else ""
                self.screen += _CONTROL.sub("", drawn.removesuffix(self._begun))
                return True
        return False


@contextlib.contextmanager
def on_terminal(*command: str) -> Iterator[PseudoTerminal]:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS)}

    def take_terminal() -> None:
        # Who runs the tests in the background has SIGINT ignored; a program at a terminal has not.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C is a signal

    process = subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, env=environment, preexec_fn=take_terminal
    )
    os.close(slave)
    try:
        yield PseudoTerminal(process, master)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(master)
