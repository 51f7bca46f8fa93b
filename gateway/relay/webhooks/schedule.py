"""When a webhook is told again, and when no more. Pure.

Source: Standard Webhooks 1.0
"""

import random
from collections.abc import Sequence

from gateway.journal.deliveries import DeliveryStatus
from gateway.relay.retry import retry_after_s
from gateway.relay.webhooks.post import Reply

#: Before each try, since the one before it: at once, then for three days and more.
DELAYS_S = (0.0, 5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0)
JITTER = 0.1  # of a delay, at most, is added: those who failed together do not return together
LONGEST_RETRY_AFTER_S = 86_400.0
GONE = 410  # the receiver wants to hear no more
SLOW_DOWN = frozenset({429, 502, 504})
SLOW_S, SLOWEST_S = 5.0, 300.0  # pause of a receiver that says so; doubling while it goes on


def next_try(
    reply: Reply, *, step: int, delays_s: Sequence[float], now: float, rng: random.Random
) -> tuple[DeliveryStatus, float]:
    """What try number *step* of the schedule led to, and after how many seconds another follows."""
    if reply.status is not None and 200 <= reply.status < 300:
        return DeliveryStatus.DELIVERED, 0.0
    if reply.status == GONE or step >= len(delays_s):
        return DeliveryStatus.FAILED, 0.0
    asked_s = min(retry_after_s(reply.headers, now) or 0.0, LONGEST_RETRY_AFTER_S)
    return DeliveryStatus.PENDING, max(delays_s[step], asked_s) * (1 + JITTER * rng.random())


def pause_s(reply: Reply, *, times: int, now: float) -> float:
    """How long a receiver is left alone that asked for less *times* in a row; 0 where it did not."""
    if not times:
        return 0.0
    doubled_s = SLOW_S * 2.0 ** min(times - 1, 16)
    return min(SLOWEST_S, max(doubled_s, retry_after_s(reply.headers, now) or 0.0))
