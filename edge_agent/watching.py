"""Keeps vigil over one MQTT connection: looks when a look is due, asks, tries another connection beside it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any

from bridge import tcp
from edge_agent import dialling, vigil

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

log = logging.getLogger(__name__)

CHANGE = 0.1  # of a timer
BUSY_WITH, BUSY_FOR = 8, 2.0  # so much left within so many seconds: TCP's round trip is of now


class Watch:
    """See `edge_agent.vigil`.

    Args:
        sock: gives the connection's socket; None while there is none.
        ask: sends a question that the broker answers at once; it tells `owed`, and its answer `heard`.
        dial: opens another connection.
        dead: takes why it is.
        leniency: see `Vigil`.
    """

    def __init__(
        self,
        *,
        sock: Callable[[], Any],
        ask: Callable[[], None],
        dial: Callable[[], asyncio.Task[socket.socket]],
        dead: Callable[[str], None],
        leniency: float = 0.0,
    ) -> None:
        self._sock, self._ask, self._dial, self._dead = sock, ask, dial, dead
        self._clock = asyncio.get_running_loop().time
        self._vigil = vigil.Vigil(leniency=leniency)
        self._stir = asyncio.Event()
        self._beside: asyncio.Task[socket.socket] | None = None
        self._opened: float | None = None
        self._patience = self._margin = 0.0
        self._cap = tcp.LONGEST_RTO  # as it was dialled
        self._left: deque[float] = deque(maxlen=BUSY_WITH)

    def owed(self) -> None:
        """Something left that the broker answers."""
        now = self._clock()
        self._left.append(now)
        self._vigil.owed(now)
        self._stir.set()

    def heard(self, *, more: bool, took: float | None = None) -> None:
        """The broker said something; see `Vigil.heard`."""
        self._vigil.heard(self._clock(), more=more, took=took)
        self._drop_other()

    def take(self) -> asyncio.Task[socket.socket] | None:
        """Hands over the connection that was begun beside this one, if there is one."""
        beside, self._beside, self._opened = self._beside, None, None
        return beside

    async def run(self) -> None:
        """Until cancelled, or dead."""
        self._look()
        while True:
            self._stir.clear()
            due = self._vigil.due(self._clock())
            if due is None:
                await self._stir.wait()
                continue
            planned = self._clock() + due
            await asyncio.sleep(due)
            if (late := self._clock() - planned) > vigil.LATE:
                self._vigil.excuse(late)
            if self._look():
                return

    def _look(self) -> bool:
        """Looks once, and does what is to be done; true if it is dead."""
        sock, now = self._sock(), self._clock()
        seen = None if sock is None else tcp.look(sock, now)
        if seen is not None:
            self._fit(sock, seen)
        silent = self._vigil.silent(now)
        verdict = self._vigil.look(now, seen, opened=self._opened)
        if verdict == "ask":
            self._ask()
        elif verdict == "aside":
            self._begin_other()
        elif verdict == "mute":
            log.info("nothing heard for %.2f s, nor is a second connection answered: the link is gone", silent)
        elif verdict == "dead":
            found = "half-open" if silent < vigil.GONE or self._opened is not None else "the link is gone"
            self._dead(f"{found}: nothing heard for {silent:.2f} s, round trip {self._vigil.round_trip:.3f} s")
        elif self._vigil.silent(now) < silent:
            self._drop_other()
        elif self._beside is not None and self._beside.done() and self._opened is None:
            self._begin_other()  # its SYNs are used up
        return verdict == "dead"

    def _fit(self, sock: Any, seen: tcp.Look) -> None:
        """TCP's timers follow the round trip; small changes are not worth a system call."""
        patience = vigil.patience(seen.info.rtt, seen.info.rttvar)
        # of an idle connection the round trip is an old one: a thin link would carry the same again and again
        margin = vigil.margin(seen.least) if self._is_busy() else vigil.LINUX_MARGIN
        if abs(patience - self._patience) > CHANGE * self._patience:
            self._patience = patience
            tcp.wait(sock, patience)
        cap = tcp.repeat_within(seen.info.rtt, seen.info.rttvar)
        if abs(cap - self._cap) > CHANGE * self._cap:
            self._cap = cap
            tcp.cap(sock, cap)
        if abs(margin - self._margin) > CHANGE * self._margin:
            self._margin = margin
            tcp.margin(sock, margin)

    def _is_busy(self) -> bool:
        return len(self._left) == BUSY_WITH and self._clock() - self._left[0] < BUSY_FOR

    def _begin_other(self) -> None:
        self._drop_other()
        self._beside = self._dial()
        self._beside.add_done_callback(self._came)

    def _came(self, other: asyncio.Task[socket.socket]) -> None:
        if other is self._beside and dialling.is_open(other):
            self._opened = self._clock()

    def _drop_other(self) -> None:
        if (beside := self.take()) is not None:
            dialling.spare(beside)
