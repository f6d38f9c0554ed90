"""The one formula that the chooser maximises and that bench and laboratory judge by.

::

    U = ½·met + ½·min(1, F/f) − ¼·B/(B + B₀) − ¼·min(1, max(0, a − a₀)/a₀) − ¼·min(1, 8·c/F)

    f   seconds, freshness at p95              F   seconds, what the stream declares
    B   bytes/s on the wire, both ways         B₀  bytes/s, the bare rows in the largest encoding on offer
    a   accuracy that the encoding costs       a₀  the manifest's budget (a share; 0.01 is one point)
    c   seconds a message that the encoding computes at both ends, beyond the quickest encoding
    met 1 if f ≤ F and a ≤ a₀, else 0

Whatever meets both has U > ½, whatever does not has U ≤ ½; and among those that meet both, fewer bytes and less
computing are better. So the greatest U *is* "the cheapest that meets freshness and fidelity, else the least bad".
−¾ ≤ U ≤ 1.

Computing is dear by what the stream declares, not by what the link takes: it is then the same on every path, so that no
estimate can make it change the choice, and a stream that can wait spends it on bytes. An eighth of F weighs as much as
any number of bytes: 0.3 ms are 0.05 of a stream that wants 12 ms, what 150 bytes in a message of 600 are.
"""

from __future__ import annotations

MET, FRESH, BYTES, FIDELITY, COMPUTING = 0.5, 0.5, 0.25, 0.25, 0.25
MOST_COMPUTING = 1 / 8  # of the declared freshness, from which on it cannot be worse


def utility(
    freshness: float,
    *,
    wanted: float,
    bytes_s: float,
    reference: float,
    cost: float = 0.0,
    budget: float = 0.0,
    computing: float = 0.0,
) -> float:
    """U of the module's formula.

    Args:
        freshness: f, seconds; may be infinite.
        wanted: F, seconds, above 0.
        bytes_s: B, may be infinite.
        reference: B₀, above 0.
        cost: a.
        budget: a₀; at 0 any cost is all too much.
        computing: c, seconds.
    """
    fresh = 1.0 if freshness <= wanted else wanted / freshness
    share = 1.0 if bytes_s == float("inf") else bytes_s / (bytes_s + reference)
    over = 0.0
    if cost > budget:
        over = min(1.0, (cost - budget) / budget) if budget > 0 else 1.0
    met = 1.0 if freshness <= wanted and cost <= budget else 0.0
    busy = min(1.0, computing / (MOST_COMPUTING * wanted))
    return MET * met + FRESH * fresh - BYTES * share - FIDELITY * over - COMPUTING * busy
