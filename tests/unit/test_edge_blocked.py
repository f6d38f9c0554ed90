"""UDP alone is blocked: the uplink over two ways, with a clock that the test sets."""

from __future__ import annotations

from bridge.link.events import Connected
from tests.support.two_ways import World, settle


async def test_udp_alone_that_is_blocked_is_left_after_little_more_than_a_second_and_come_back_to() -> None:
    world = World("mqtt", "coap")
    await world.start()
    assert (await world.send(0)).kind == "safe"
    assert world.profile.startswith("coap")
    coap = world.ways["coap"]
    coap.through = False
    blocked = world.now
    under_way = [world.send(4)]
    await settle()
    while world.profile.startswith("coap"):
        await world.after(0.1)
    assert world.now - blocked <= 1.5
    assert (await under_way[0]).kind == "safe"
    for n in range(2, 300):
        assert (await world.send(4 * n)).kind == "safe"
        await world.after(0.1)
    assert len(world.uplink.switches) == 2
    coap.through = True
    free = world.now
    n = 300
    while world.profile.startswith("mqtt"):
        assert world.now - free <= 2.0
        assert (await world.send(4 * n)).kind == "safe"
        await world.after(0.1)
        n += 1
    assert len(world.uplink.switches) == 3
    await world.stop()


async def test_where_udp_was_never_heard_the_first_message_goes_by_the_other_way() -> None:
    made = World("mqtt", "coap")
    coap = made.ways["coap"]
    coap.through = False
    await made.start()
    await coap.ask()
    await made.after(0.1)
    made.estimator.on(Connected("mqtt", made.now))
    early, skip = made.send(0), made.skip()
    await settle()
    assert made.profile.startswith("coap")
    await made.after(0.6)
    assert (await early).kind == (await skip).kind == "safe"
    assert made.profile.startswith("mqtt")
    await made.stop()


async def test_what_has_no_rows_goes_by_the_way_that_is_heard_before_anything_is_chosen() -> None:
    made = World("mqtt", "coap")
    made.ways["coap"].through = False
    await made.start()
    await made.ways["coap"].ask()
    await made.after(0.5)
    made.estimator.on(Connected("mqtt", made.now))
    await made.after(0.1)
    assert (await made.skip()).kind == "safe"
    assert made.ways["coap"].carried == []
    await made.stop()
