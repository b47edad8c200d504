"""Coverage-guided fuzzing of the KRPC decoder: `python -m tests.grape.fuzz_krpc`.

The invariant hunted: any bytes either raise `KrpcError`, or decode to a message whose encoding
decodes to the same message. Further arguments go to libFuzzer, e.g. `-max_total_time=60`.
"""

from grape.krpc import KrpcError, Query, decode_message, encode_message
from tests.support.fuzzing import fuzz


def one_input(data: bytes) -> None:
    """Try one input."""
    try:
        message = decode_message(data)
    except KrpcError as error:
        if error.answer is not None:
            encode_message(error.answer)
        return
    if isinstance(message, Query) and message.sender_id is None:
        return  # a sender without id is answered, but we never send one
    assert decode_message(encode_message(message)) == message


if __name__ == "__main__":
    fuzz(one_input, corpus="krpc")
