"""Where a window is answered: the place of the greatest expected value.

A window that is answered wrong or late is worth 0, right by its deadline 1, right only by deadline + grace ½::

    V(bridge) = p_b
    V(cloud)  = q·p_c + (1 − q)·p_b − price        a silent cloud: the bridge's answer is published by the deadline
    V(both)   = p_b + ½·q_g·(p_c − p_b) − price    provisional now, final later; only where the route allows it

    p_b    P(the bridge is right): the calibrated certainty of its answer
    p_c    P(the cloud is right | that certainty), `Chances`
    q      P(the cloud answers in the time left), q_g: within the grace after it, `RemoteCost.in_time`
    price  of one window sent up, in right answers

Ties go to the bridge. The cloud is eligible only for certainties below the declared threshold, so that the share sent
up stays what its owner declared. The reason is made for the operator who reads a Result: words and numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

if TYPE_CHECKING:
    from bridge.place.chances import Chances

Policy: TypeAlias = Literal["cascade", "bridge", "cloud"]
Where: TypeAlias = Literal["bridge", "cloud", "both"]

LATE_WORTH = 0.5  # of a right answer that comes after the deadline and within the grace
HOPELESS = 0.05  # below this chance of an answer in time nobody is asked
MARGIN, MARGIN_SHARE = 0.05, 0.1  # seconds, and of the whole: so long before the deadline waiting for the cloud ends


class Terms(msgspec.Struct, frozen=True, gc=False):
    """What a route declares about placement.

    Attributes:
        policy: "cascade": the bridge, and the cloud where the bridge is unsure; or always one of them.
        below: the bridge is unsure below this certainty; None: it is never unsure.
        price: what a window sent up costs, in right answers.
        provisional: the bridge's answer may be published as provisional, with the cloud's as the final one.
        grace: seconds after the deadline by which a final answer is still worth something.
    """

    policy: Policy = "cascade"
    below: float | None = None
    price: float = 0.0
    provisional: bool = False
    grace: float = 0.0


class CloudView(msgspec.Struct, frozen=True, gc=False):
    """What is known of the cloud now, for one window.

    Attributes:
        there: it can be asked.
        why: why not, in words.
        agent: the agent that would be asked; "": whichever takes it.
        expected: seconds that its answer is expected to take; 0 when unknown.
        in_time: chance of an answer in the time left.
        in_grace: chance of an answer in the time left and the grace after it.
    """

    there: bool
    why: str = ""
    agent: str = ""
    expected: float = 0.0
    in_time: float = 0.0
    in_grace: float = 0.0


class Choice(msgspec.Struct, frozen=True, gc=False):
    """Where a window is answered, and why.

    Attributes:
        where: "both": the bridge now, provisionally, the cloud later.
        reason: in words and numbers.
        firm: it follows from the window and the settings alone, so that a repeat is decided the same way.
        explore: the cloud was passed over only because it would hardly answer in time: worth a shadow question.
    """

    where: Where
    reason: str
    firm: bool
    explore: bool = False


ON_BRIDGE = Choice("bridge", "the route computes on the bridge", firm=True)
NEVER_UNSURE = Choice("bridge", "the model escalates nothing", firm=True)


def margin(whole: float) -> float:
    """Seconds before its deadline at which a window's answer must be known, so that it is published in time.

    Args:
        whole: seconds from the window's last row to its deadline.
    """
    return max(0.0, min(MARGIN, MARGIN_SHARE * whole))


def always(terms: Terms) -> Choice | None:
    """The choice for all windows where the bridge answers whatever it is told of them; None if that depends."""
    if terms.policy == "bridge":
        return ON_BRIDGE
    return NEVER_UNSURE if terms.policy == "cascade" and terms.below is None else None


def at_once(certainty: float, terms: Terms) -> Choice | None:
    """The choice for a window that the bridge answers whatever the cloud does; None if the cloud is wished for.

    Args:
        certainty: P(the bridge is right).
        terms: the route's.
    """
    below = terms.below
    if terms.policy == "cascade" and below is not None and certainty >= below:
        return Choice("bridge", f"confident: {certainty:.3f} ≥ {below:.3f}", True)
    return always(terms)


def decide(certainty: float, chances: Chances, terms: Terms, cloud: CloudView, *, left: float) -> Choice:
    """Where a window is answered.

    Args:
        certainty: p_b, P(the bridge is right).
        chances: p_c, P(the cloud is right), by certainty.
        terms: the route's.
        cloud: what is known of the cloud now.
        left: seconds in which the cloud's answer must be there: until the deadline, less `margin`.

    Returns:
        The place of the greatest expected value, and why.
    """
    sure = at_once(certainty, terms)
    if sure is not None:
        return sure
    if terms.policy == "cloud":
        wish, gain, price = "the route computes in the cloud", 1.0, 0.0
        right = ""
    else:
        p_cloud, price = chances.cloud(certainty), terms.price
        wish, gain = f"unsure: {certainty:.3f} < {terms.below:.3f}", p_cloud - certainty
        right = f"cloud {p_cloud:.2f} right, "
        if not gain > price:
            cost = f" at a price of {price:.3f}" if price else ""
            return Choice("bridge", f"{wish}, but the cloud is right with {p_cloud:.3f}{cost}", firm=True)
    if not cloud.there:
        return Choice("bridge", f"{wish}, but {cloud.why}", firm=False)
    return _weigh(wish, right, gain, price, terms, cloud, left)


def _weigh(wish: str, right: str, gain: float, price: float, terms: Terms, cloud: CloudView, left: float) -> Choice:
    """Of what the cloud gains if it answers, what is left after its chances and its price."""
    q = cloud.in_time if left > 0.0 else 0.0
    later = cloud.in_grace if terms.provisional and left + terms.grace > 0.0 else 0.0
    now_value = q * gain - price if q >= HOPELESS else 0.0
    later_value = LATE_WORTH * later * gain - price if later >= HOPELESS else 0.0
    expected = f", expected {cloud.expected:.3f} s" if cloud.expected > 0.0 else ""
    if now_value > 0.0 and now_value >= later_value:
        return Choice("cloud", f"{wish}; {right}{q:.2f} in time{expected}", firm=False)
    if later_value > 0.0:
        chance = f"{q:.2f} in time, {later:.2f} within {terms.grace:g} s after"
        return Choice("both", f"{wish}; {right}{chance}{expected}", firm=False)
    if left <= 0.0:
        return Choice("bridge", f"{wish}, but {left:.3f} s are left", firm=False)
    cost = f" and costs {price:.3f}" if price and q >= HOPELESS else ""
    why = f"{wish}, but {right}{q:.2f} in time ({left:.3f} s{expected}){cost}"
    return Choice("bridge", why, firm=False, explore=True)
