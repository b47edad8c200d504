"""Coverage-guided fuzzing of the bencode decoder: `python -m tests.grape.fuzz_bencode`.

The invariant hunted: any bytes either raise `BencodeError`, or decode to a value whose encoding
decodes to the same value. Further arguments go to libFuzzer, e.g. `-max_total_time=60`.
"""

from grape.bencode import BencodeError, decode, encode
from tests.support.fuzzing import fuzz


def one_input(data: bytes) -> None:
    """Try one input."""
    try:
        value = decode(data)
    except BencodeError:
        return
    assert decode(encode(value)) == value


if __name__ == "__main__":
    fuzz(one_input, corpus="bencode")
