"""What the bridge counts while it runs, for the ledger: since its start, in memory, bounded. Pure.

A window enters the book when its turn has cut it, and leaves it when the broker took its Result or when it was refused;
nobody else's list of what is open is asked, so that the two can be compared. Entering and leaving is all that happens
for each window: what can be worked out later is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from bridge.ledger.account import StreamAccount, WholeAccount, Windows
from bridge.ledger.tally import Tally, WholeTally
from bridge.ranges import Range, union

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from bridge.messages import SeriesKey
    from bridge.pipeline.entries import Entry
    from bridge.pipeline.turn import Cut
    from bridge.topics import DataTopic

LATE = "stale"
STREAMS = 50_000  # streams remembered; the one noted first goes first
EPOCHS = 8  # numberings of whole windows remembered, a stream; the one noted first goes first
ASTRAY = 64  # windows that nobody works at, named in an account

Names: TypeAlias = "tuple[str, str, str]"  # site, device, stream


class Stream:
    """What is counted of one stream: see `account.StreamAccount`.

    Attributes:
        whole: whole windows that nobody numbers, or whose numbering is forgotten; None: none.
        epochs: whole windows by numbering, the one noted first first.
        epochs_forgotten: how many numberings are known no more.
    """

    __slots__ = ("duplicates", "epochs", "epochs_forgotten", "refused", "seen", "whole")

    def __init__(self) -> None:
        self.epochs: dict[SeriesKey, WholeTally] = {}
        self.epochs_forgotten = 0
        self.duplicates = 0
        self.refused: dict[str, int] = {}
        self.whole: Tally | None = None
        self.seen: float | None = None


class Book:
    """The bridge's counts. Its windows are known by their ids from the turn that cut them to their end.

    Attributes:
        forgotten: streams whose figures were dropped, for there were too many.
        whole_refused: numbered whole windows got no Result, and nothing but this book says so.
    """

    def __init__(self) -> None:
        self._tallies: dict[SeriesKey, Tally] = {}
        self._streams: dict[Names, Stream] = {}
        self._waiting: dict[str, tuple[Tally, int]] = {}
        self._begun = 0
        self._answered = 0
        self._provisional = 0
        self._repeats = 0
        self._refused: dict[str, int] = {}
        self._duplicates = 0
        self._late = 0
        self._pushed_out = [0, 0]
        self.forgotten = 0
        self.whole_refused = False

    def totals(self) -> dict[str, object]:
        """All counts over all streams, since the start, for the bridge's status."""
        return {
            "windows": self._begun,
            "answered": self._answered,
            "provisional": self._provisional,
            "refused": self._refused,
            "in_flight": len(self._waiting),
            "repeats": self._repeats,
            "duplicates": self._duplicates,
            "late": self._late,
            "pushed_out": self._pushed_out[0],
            "pushed_out_rows": self._pushed_out[1],
        }

    # ---- how windows begin

    def restored(self, key: SeriesKey, hop: int, cut: list[Range]) -> None:
        """A series of an earlier life goes on.

        Args:
            key: the series.
            hop: rows from one window to the next.
            cut: its windows so far, as ranges of numbers.
        """
        self._tallies[key] = tally = Tally(hop)
        tally.before = cut

    def reopened(self, key: SeriesKey, window: str, seq: int, *, rows: int = 0) -> None:
        """A window of an earlier life still waits for its answer, or its Result for the broker.

        Args:
            key: its series.
            window: its id.
            seq: its first row.
            rows: rows of a whole window that its sender numbers; 0: another window.
        """
        tally = self._tallies.get(key)
        if tally is None:
            tally = self._whole(key, rows)
        elif isinstance(tally, WholeTally):
            pass
        elif tally.opened is None:
            tally.opened = [seq]
        else:
            tally.opened.append(seq)
        self._waiting[window] = (tally, seq)
        self._begun += 1

    def ended_before(self, key: SeriesKey, rows: int, ended: Iterable[Range]) -> None:
        """An earlier process answered whole windows.

        Args:
            key: their series.
            rows: rows of a window.
            ended: rows of those that were answered.
        """
        tally = self._tallies.get(key) or self._whole(key, rows)
        if isinstance(tally, WholeTally):
            tally.ended_before(ended)

    def turn(self, cuts: Iterable[Cut], touched: Mapping[SeriesKey, Entry], wall: float) -> None:
        """Note what a turn took in.

        Args:
            cuts: windows it cut.
            touched: series that got rows.
            wall: seconds since 1970.
        """
        tallies, waiting = self._tallies, self._waiting
        for key, entry in touched.items():
            tally = entry.tally
            if tally is None:
                tally = tallies.get(key)
                if tally is None:
                    tally = tallies[key] = Tally(entry.route.manifest.input.hop)
                if not isinstance(tally, WholeTally):  # which may be forgotten while the series lives
                    entry.tally = tally
            tally.seen = wall
        before = len(waiting)
        unasked: dict[SeriesKey, Tally] = {}  # a turn has many windows of few streams
        for cut in cuts:
            window, series = cut.window, cut.entry
            if series is not None and series.used and series.tally is not None:
                waiting[window.id] = (series.tally, window.seq)
                continue
            key = window.key
            tally = tallies.get(key)
            if tally is None:
                rows = _rows_of(cut)
                tally = None if rows else unasked.get(key)
                if tally is None:
                    tally = self._whole(key, rows)
                    if not rows:
                        unasked[key] = tally
            tally.seen = wall
            waiting[window.id] = (tally, window.seq)
        self._begun += len(waiting) - before

    def _whole(self, key: SeriesKey, rows: int) -> Tally:
        """The tally of whole windows, of so many rows, of which none is known yet; 0: of a stream's."""
        stream = self._stream(key.site, key.device, key.stream)
        if rows:
            found = self._tallies[key] = stream.epochs[key] = WholeTally(rows)
            if len(stream.epochs) > EPOCHS:
                self._forget_epoch(stream, next(iter(stream.epochs)))
            return found
        if stream.whole is None:
            stream.whole = Tally(0)
        return stream.whole

    def _forget_epoch(self, stream: Stream, key: SeriesKey) -> None:
        """Its counts stay with the stream; what waits of it ends unseen."""
        gone = stream.epochs.pop(key)
        self._tallies.pop(key, None)
        stream.epochs_forgotten += 1
        stream.whole = stream.whole or Tally(0)
        stream.whole.add(gone)

    def evicted(self, keys: Iterable[SeriesKey]) -> None:
        """These series are forgotten; what waits of them ends unseen."""
        for key in keys:
            self._tallies.pop(key, None)

    def pushed_out(self, rows: int) -> None:
        """A series was pushed out of memory with so many rows whose windows were not complete."""
        self._pushed_out[0] += 1
        self._pushed_out[1] += rows

    # ---- how windows end

    def answered(self, window: str) -> None:
        """The broker took the final Result of this window."""
        found = self._waiting.pop(window, None)
        if found is None:
            self._repeats += 1
            return
        tally, seq = found
        tally.answered += 1
        self._answered += 1
        hop = tally.hop
        if hop:
            if seq == tally.last + hop:  # here, for it is so of nearly all
                tally.last = seq
            else:
                tally.end(seq)

    def provisional(self, window: str) -> None:
        """The broker took a provisional Result of this window; a final one follows."""
        found = self._waiting.get(window)
        if found is not None:
            found[0].provisional += 1
            self._provisional += 1

    def refused(self, window: str, reason: str) -> None:
        """This window gets no Result, at least not in this life of the bridge."""
        found = self._waiting.pop(window, None)
        if found is None:
            return
        tally, seq = found
        if tally.refused is None:
            tally.refused = {}
        for counts in (tally.refused, self._refused):
            counts[reason] = counts.get(reason, 0) + 1
        tally.end(seq)
        self.whole_refused = self.whole_refused or isinstance(tally, WholeTally)

    # ---- messages that give no window

    def known(self, key: SeriesKey, wall: float) -> None:
        """A message of which all was known."""
        stream = self._stream(key.site, key.device, key.stream)
        stream.duplicates += 1
        stream.seen = wall
        self._duplicates += 1

    def refusal(self, source: DataTopic | None, reason: str, wall: float, count: int = 1) -> None:
        """Messages were refused, or rows of them; `stale`: they came too late."""
        if reason == LATE:
            self._late += count
        if source is not None:
            stream = self._stream(*source)
            stream.refused[reason] = stream.refused.get(reason, 0) + count
            stream.seen = wall

    def _stream(self, site: str, device: str, stream: str) -> Stream:
        names = (site, device, stream)
        found = self._streams.get(names)
        if found is None:
            found = self._streams[names] = Stream()
            if len(self._streams) > STREAMS:
                gone = self._streams.pop(next(iter(self._streams)))
                for key in gone.epochs:
                    self._tallies.pop(key, None)
                self.forgotten += 1
        return found

    # ---- what is told of it

    def waiting(self) -> dict[Tally, list[tuple[int, str]]]:
        """First rows and ids of the windows on their way."""
        found: dict[Tally, list[tuple[int, str]]] = {}
        for window, (tally, seq) in self._waiting.items():
            found.setdefault(tally, []).append((seq, window))
        return found

    def tally(self, key: SeriesKey) -> Tally | None:
        """What is counted of a series."""
        return self._tallies.get(key)

    def streams(self) -> list[Names]:
        """All streams of which something is counted."""
        return list(self._streams)

    def stream(
        self, names: Names, waiting: Mapping[Tally, list[tuple[int, str]]], working: Callable[[str], bool] | None
    ) -> StreamAccount | None:
        """The account of a stream; None if it was forgotten meanwhile.

        Args:
            names: site, device and stream.
            waiting: see `waiting`.
            working: whether somebody works at a window, by its id; None: cannot be said now.
        """
        found = self._streams.get(names)
        if found is None:
            return None
        tallies: list[Tally] = [*found.epochs.values()]
        if found.whole is not None:
            tallies.append(found.whole)
        windows, seen = None, found.seen
        if tallies:
            whole = Tally(0)
            for tally in tallies:
                whole.add(tally)
            windows = windows_of(whole, [one for tally in tallies for one in waiting.get(tally, ())], working)
            seen = max(seen or 0.0, whole.seen or 0.0) or None
        return StreamAccount(
            *names, found.duplicates, found.refused, windows, seen, epochs_forgotten=found.epochs_forgotten
        )

    def wholes(self, names: Names, waiting: Mapping[Tally, list[tuple[int, str]]]) -> list[WholeAccount]:
        """The accounts of the numberings of a stream of whole windows.

        Args:
            names: site, device and stream.
            waiting: see `waiting`.
        """
        found = self._streams.get(names)
        if found is None:
            return []
        return [
            WholeAccount(
                key, tally.hop, union([*tally.before, *tally.ended]),
                ended_all=tally.ended_all,
                waiting=union((seq, seq + tally.hop - 1) for seq, _ in waiting.get(tally, ())),
                seen=tally.seen,
            )
            for key, tally in found.epochs.items()
        ]  # fmt: skip


def _rows_of(cut: Cut) -> int:
    """Rows of a whole window whose sender will ask what became of it; 0: of any other."""
    asks = cut.route.windows == "whole" and cut.ticket is not None and cut.ticket.receipt
    return len(cut.window.values) if asks else 0


def windows_of(tally: Tally, waiting: list[tuple[int, str]], working: Callable[[str], bool] | None) -> Windows:
    """What became of windows.

    Args:
        tally: what is counted of them.
        waiting: first rows and ids of those on their way.
        working: whether somebody works at a window, by its id; None: cannot be said now.
    """
    astray = None if working is None else sorted(seq for seq, window in waiting if not working(window))[:ASTRAY]
    return Windows(tally.answered, tally.provisional, tally.refused or {}, len(waiting), astray)
