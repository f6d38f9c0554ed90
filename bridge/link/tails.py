"""How much later than the fastest the late ones are: closed formulas for loss over CoAP and over TCP.

A tail is given as its mean of the 95.5 and the 97 % point: the share that is late falls in steps (one lost, two lost,
…), and at a step a measured p95 is now above and now below it.
"""

from __future__ import annotations

import math
from functools import lru_cache

POINTS = (0.955, 0.97)  # around p95, above rather than below
REMEMBERED = 1024  # tails; callers round what they ask
DEPTH = 8  # transmissions of one message that are reckoned with
KERNEL_EXTRA = 0.2  # seconds that Linux' RTO lies above the round trip (TCP_RTO_MIN)
REORDERING = 1.25  # round trips until RACK knows a loss from an answer to what left later (RFC 8985 section 6.2)
MSS = 1400.0  # bytes
VARIABILITY = 0.015  # (c²a + c²s)/2 of periodic messages of one size; measured at 85–97 % of 64 kbit/s


def still_lost(loss: float, spell: float, gap: float) -> float:
    """Probability that a packet is lost `gap` seconds after another was (two-state channel, Gilbert 1960)."""
    return loss + (1 - loss) * math.exp(-gap / spell) if spell > 0 else loss


def volley_lost(loss: float, spell: float, copies: int) -> float:
    """Probability that none of the copies arrives: in a spell they share their fate."""
    return loss if spell > 0 else loss**copies


@lru_cache(maxsize=REMEMBERED)
def coap_tail(
    *, loss: float, spell: float, rto: float, copies: int = 1, blocks: int = 1, back_off: float = 1.5, most: float = 1.0
) -> float:
    """Seconds that a CoAP message's retransmissions add at p95.

    After n volleys were lost it arrives Σ RTO·1.5ⁱ later; the share later than that is the probability of n + 1 losses.

    Args:
        loss: of a packet, one way.
        spell: seconds that losses stick together.
        rto: seconds to the first retransmission.
        copies: of each volley.
        blocks: of a block-wise body, one after the other.
        back_off: factor from timer to timer.
        most: seconds that backing off stops at.

    Returns:
        Seconds; infinite if eight volleys do not suffice.
    """
    late = 1 - (1 - volley_lost(loss, spell, copies)) ** blocks
    steps = [(0.0, late)]
    extra, timer = 0.0, rto
    for _ in range(DEPTH):
        if late <= 1 - max(POINTS):
            break
        extra += timer
        late *= still_lost(loss, spell, timer) if spell > 0 else loss**copies
        steps.append((extra, late))
        timer = max(rto, min(timer * back_off, most))
    return sum(next((extra for extra, late in steps if late <= 1 - point), math.inf) for point in POINTS) / len(POINTS)


@lru_cache(maxsize=REMEMBERED)
def tcp_tail(*, loss: float, spell: float, rtt: float, rate: float) -> float:
    """Seconds that TCP's repairs add at p95, for messages of one segment each with TCP_NODELAY.

    A loss is noticed by RACK once a later message is answered (RFC 8985), after 1/rate + 1.25 RTT; a lost repair by
    RTOs of RTT + 0.2 s that double (RFC 6298 section 5.5). All that is sent until the repair at e waits for it, in
    order: 1 + rate·(e − x) messages are later than x. A spell starts one repair, not one a lost message.

    Args:
        loss: of a packet, one way.
        spell: seconds that losses stick together.
        rtt: seconds.
        rate: messages a second.

    Returns:
        Seconds; infinite if the repairs do not end.
    """
    timer = rtt + KERNEL_EXTRA
    repaired = gap = min(1 / rate + REORDERING * rtt, timer)
    chain = loss * (1 - still_lost(loss, spell, 1 / rate))
    repairs = []
    for _ in range(DEPTH):
        lost = still_lost(loss, spell, gap)
        repairs.append((repaired, chain * (1 - lost)))
        chain *= lost
        gap, timer = timer, 2 * timer
        repaired += gap
    repairs.append((repaired, chain))
    return sum(_later_than(repairs, rate, 1 - point) for point in POINTS) / len(POINTS)


def _later_than(repairs: list[tuple[float, float]], rate: float, share: float) -> float:
    """The x that this share of messages is later than; late(x) = Σ over repairs at e > x of p·(1 + rate·(e − x))."""
    height = sum(p * (1 + rate * e) for e, p in repairs)
    slope = rate * sum(p for _, p in repairs)
    begin = 0.0
    for end, p in repairs:
        if height - slope * begin <= share:
            return begin
        if height - slope * end <= share:
            return (height - share) / slope
        height -= p * (1 + rate * end)
        slope -= rate * p
        begin = end
    return math.inf


def tcp_rate(*, loss: float, rtt: float) -> float:
    """Bytes a second that a loss-based TCP gets through (Padhye et al. 1998, equation 33, b = 1)."""
    rtt, loss = max(rtt, 1e-3), max(loss, 1e-9)
    timeouts = min(1.0, 3 * math.sqrt(3 * loss / 8)) * loss * (1 + 32 * loss * loss)
    return MSS / (rtt * math.sqrt(2 * loss / 3) + (rtt + KERNEL_EXTRA) * timeouts)


def queue_wait(*, utilisation: float, service: float) -> float:
    """Mean seconds in the queue before the link (Kingman 1961); `utilisation` below 1, `service` seconds a message."""
    return VARIABILITY * utilisation / (1 - utilisation) * service
