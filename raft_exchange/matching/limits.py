"""Every upper bound of the state machine, and how they relate.

One screen, on purpose: whoever changes a bound sees the others. The relations are asserted at
import, so that a wrong bound stops the program before it can accept an order.
"""

from typing import Final

# Numbers. Wide enough for any listed asset at 18 decimal places, narrow enough for msgpack's
# 64-bit integers; products (price x quantity) may exceed 64 bits and travel as decimal text.
PRICE_TICKS_MAX: Final = 10**15
QUANTITY_LOTS_MAX: Final = 10**18
SIZE_E18_MAX: Final = 10**19  # a tick or lot of at most ten units, in units of 10^-18
TIME_US_MAX: Final = 253_402_300_799_999_999  # 9999-12-31T23:59:59.999999Z
AMOUNT_MAX: Final = 10**72  # of one asset in the whole exchange, in units of 10^-36
FEE_E8_MAX: Final = 10**7  # a tenth of the amount, in units of 10^-8

# Names.
NAME_BYTES_MAX: Final = 32  # markets, assets, accounts, keys
KEY_SECRET_BYTES: Final = 32  # a SHA-256, an Ed25519 public key
CLIENT_ORDER_ID_BYTES_MAX: Final = 64
TRANSFER_ID_BYTES_MAX: Final = 64
IDEMPOTENCY_KEY_BYTES_MAX: Final = 64

# Populations.
MARKETS_MAX: Final = 1_000
ACCOUNTS_MAX: Final = 100_000
ORDERS_PER_ACCOUNT_MARKET_MAX: Final = 200_000
ORDERS_PER_MARKET_MAX: Final = 1_000_000
ORDERS_MAX: Final = 2_000_000
TRANSFERS_REMEMBERED_MAX: Final = 100_000
KEYS_PER_ACCOUNT_MAX: Final = 32  # the revoked ones that are still remembered included
KEYS_MAX: Final = 200_000

# What one command may set off. A stop that is elected trades inside the command that elected it,
# and each tranche of an iceberg is one more fill: both are few enough that a command's fills stay
# of the order of the book's own bound.
STOPS_PER_ACCOUNT_MARKET_MAX: Final = 1_000
STOPS_PER_MARKET_MAX: Final = 10_000
ICEBERGS_PER_ACCOUNT_MARKET_MAX: Final = 500
ICEBERGS_PER_MARKET_MAX: Final = 2_000
ICEBERG_TRANCHES_MAX: Final = 100

# Market protection and the dead-man switch.
PRICE_BAND_PPM_MAX: Final = 10 * 1_000_000  # ten times the last trade
CANCEL_AFTER_US_MAX: Final = 86_400 * 1_000_000  # a day

# Entries of the log.
BATCH_COMMANDS_MAX: Final = 512
BATCH_BYTES_MAX: Final = 512 * 1024
REQUEST_GROUP_MAX: Final = 501  # one HTTP batch of 500 orders and the account it may create

# The idempotency window (see api.md: 10 minutes of logged time).
IDEMPOTENCY_WINDOW_US: Final = 600 * 1_000_000
IDEMPOTENCY_KEYS_PER_ACCOUNT_MAX: Final = 100_000
IDEMPOTENCY_KEYS_MAX: Final = 1_000_000
# Of results: what as many keys need whose orders did little. One result may be larger alone.
IDEMPOTENCY_BYTES_PER_ACCOUNT_MAX: Final = 64 * 1024 * 1024
IDEMPOTENCY_BYTES_MAX: Final = 512 * 1024 * 1024

# Signed requests: how far a signature's time may be from the logged clock, and what is remembered
# so that none is taken twice. A signature of the future is good for twice as long.
SIGNATURE_WINDOW_US: Final = 5 * 1_000_000
NONCE_KEPT_US: Final = 2 * SIGNATURE_WINDOW_US
NONCES_MAX: Final = 500_000  # fifty thousand signed requests a second
NONCE_BYTES_MAX: Final = 64
SIGNATURE_BYTES: Final = 64
SIGNED_TARGET_BYTES_MAX: Final = 1_024  # path and query
SIGNED_BODY_BYTES_MAX: Final = 384 * 1024  # of a batch, which stands in one entry as it was sent
SIGNED_ITEM_BYTES_MAX: Final = 160  # what each further order of a signed batch adds to its entry

# Sessions of the sequencer: one for each node that ever submitted.
SESSIONS_MAX: Final = 1_024

INT64_MAX: Final = 2**63 - 1
UINT64_MAX: Final = 2**64 - 1

assert PRICE_TICKS_MAX <= INT64_MAX
assert QUANTITY_LOTS_MAX <= INT64_MAX
assert TIME_US_MAX <= INT64_MAX
assert PRICE_TICKS_MAX * QUANTITY_LOTS_MAX * SIZE_E18_MAX**2 < AMOUNT_MAX, "an order can be paid"
assert SIZE_E18_MAX <= UINT64_MAX, "the widest integer that msgpack carries"
assert ORDERS_PER_ACCOUNT_MARKET_MAX <= ORDERS_PER_MARKET_MAX <= ORDERS_MAX
assert STOPS_PER_ACCOUNT_MARKET_MAX <= STOPS_PER_MARKET_MAX <= ORDERS_PER_MARKET_MAX
assert ICEBERGS_PER_ACCOUNT_MARKET_MAX <= ICEBERGS_PER_MARKET_MAX
assert ICEBERGS_PER_MARKET_MAX * ICEBERG_TRANCHES_MAX <= ORDERS_PER_MARKET_MAX // 5, "few fills"
assert REQUEST_GROUP_MAX <= BATCH_COMMANDS_MAX
assert (
    SIGNED_BODY_BYTES_MAX + SIGNED_TARGET_BYTES_MAX + REQUEST_GROUP_MAX * SIGNED_ITEM_BYTES_MAX
    < BATCH_BYTES_MAX - 1_024
), "the largest signed batch fits into an entry"
assert IDEMPOTENCY_KEYS_PER_ACCOUNT_MAX <= IDEMPOTENCY_KEYS_MAX
