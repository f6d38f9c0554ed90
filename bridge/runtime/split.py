"""`models split`: cuts a graph in two wherever one tensor joins the halves, and measures each cut."""

from __future__ import annotations

import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from bridge.catalog import verify
from bridge.errors import ConfigError, ModelError
from bridge.runtime import graph, ort
from bridge.runtime import recordings as labelled
from bridge.runtime.calibration import accuracy
from bridge.runtime.providers import resolve
from bridge.runtime.split_graph import CutPoint, Graph
from bridge.runtime.split_links import Way
from bridge.runtime.split_wire import PACKINGS, pack, unpack
from bridge.runtime.stopwatch import rounds
from bridge.wire.arrays import Packing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bridge.catalog import Manifest, Variant
    from bridge.runtime.port import Logits, Windows
    from bridge.runtime.recordings import Recording

LEAST_WINDOWS = 50  # fewer tell nothing about a loss of a percent
TOLERANCE = 1e-3  # of the greatest logit: what tail(head(x)) may differ from the whole's
INPUT = "input"
Tensor = NDArray[Any]


class Sent(msgspec.Struct, frozen=True):
    """A tensor on the wire, as measured.

    Attributes:
        name: the tensor; `INPUT` for the window itself.
        operator: type of the node that makes it; empty for the input.
        kind: its type in the graph.
        values: numbers in it for one window.
        packing: how it is written: the smallest that costs no more accuracy than the budget; None if none does so.
        size: bytes in that packing, the mean over the windows.
        float_size: bytes as float32.
        int8_agreement: share of windows that keep their label when it is sent as int8, 0…1.
        accuracy: of the answers when it is sent in that packing, 0…1.
        difference: greatest |tail(head(x)) − whole(x)| of a logit when nothing is quantised on the way.
        head: seconds of a run of what makes it, on this machine.
        tail: seconds of a run of what follows.
        write: seconds to encode it.
        read: seconds to decode it.
    """

    name: str
    operator: str
    kind: str
    values: int
    packing: Packing | None
    size: int
    float_size: int
    int8_agreement: float
    accuracy: float
    difference: float
    head: float = 0.0
    tail: float = 0.0
    write: float = 0.0
    read: float = 0.0

    def way(self, name: str, slower: float) -> Way:
        """It as a way to the cloud, from a gateway that is so many times slower than this machine."""
        return Way(name, slower * (self.head + self.write), self.size, slower * (self.read + self.tail))


class Splitting(msgspec.Struct, frozen=True):
    """What was measured of one variant.

    Attributes:
        model: name of the model.
        variant: name of the variant.
        windows: labelled windows measured on.
        budget: most accuracy that a packing may cost, 0…1.
        accuracy: of the whole graph, 0…1.
        whole: seconds of its run for one window on one thread, on this machine.
        input: the window itself, which the whole in the cloud takes.
        cuts: in the graph's order; those that may be used have a packing.
        failures: cuts left out, and why.
    """

    model: str
    variant: str
    windows: int
    budget: float
    accuracy: float
    whole: float
    input: Sent
    cuts: tuple[Sent, ...]
    failures: tuple[str, ...]


class _Halves(NamedTuple):
    point: CutPoint
    head: Callable[[Tensor], Tensor]
    tail: Callable[[Tensor], Tensor]
    channels: int = 1  # that have a scale of their own on the wire

    def pack(self, tensor: Tensor, packing: Packing) -> bytes:
        return pack(tensor, packing, self.channels)


class _Truth(NamedTuple):
    """What the whole graph says of the windows, each of shape (1, rows, channels)."""

    windows: list[Windows]
    labels: NDArray[np.int64]
    logits: Logits
    budget: float

    @property
    def accuracy(self) -> float:
        return self.right(self.logits)

    def right(self, logits: Logits) -> float:
        return accuracy(logits, self.labels)


def split(
    manifest: Manifest,
    variant: Variant,
    recordings: Sequence[Recording],
    *,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> Splitting:
    """Cut a variant's graph everywhere, check each pair of halves, and time them in turn.

    Args:
        manifest: the model.
        variant: which of its graphs.
        recordings: labelled.
        seconds: wall time for timing, on top of loading and of measuring accuracy.
        clock: seconds that only grow.

    Raises:
        ConfigError: too few recordings.
        ModelError: the graph cannot be used.
    """
    windows, names = labelled.windows(recordings, manifest)
    if len(names) < LEAST_WINDOWS:
        raise ConfigError(
            f"{manifest.name}: {len(names)} windows to measure on, {LEAST_WINDOWS} are needed: record more"
        )
    path = verify(manifest, variant)
    session = _open(path)
    if graph.check(session, manifest, path) not in {None, 1}:
        raise ModelError(f"{path}: does not take a window alone; export it with a free batch dimension, or 1")
    parsed = Graph(path, manifest.input.name, manifest.output.name)
    whole = _runner(session, manifest.input.name, manifest.output.name)
    ones = list(np.ascontiguousarray(windows)[:, None])
    labels = np.array([manifest.output.labels.index(name) for name in names])
    truth = _Truth(ones, labels, _all(whole, ones), manifest.budget.accuracy)
    halves, failures = _cut(parsed, manifest)
    channels = len(manifest.input.channels)
    uncut = _Halves(CutPoint(INPUT, "", "float32", manifest.input.rows * channels), _same, whole, channels)
    checked = {each: _measure(each, truth) for each in (uncut, *halves)}
    taken = _times(checked, truth.windows[0], seconds, clock)
    sent = [msgspec.structs.replace(found, **taken[each]) for each, found in checked.items()]
    return Splitting(
        model=manifest.name,
        variant=variant.name,
        windows=len(labels),
        budget=truth.budget,
        accuracy=truth.accuracy,
        whole=sent[0].tail,
        input=sent[0],
        cuts=tuple(sent[1:]),
        failures=tuple(failures),
    )


def _cut(parsed: Graph, manifest: Manifest) -> tuple[list[_Halves], list[str]]:
    """Both halves of each cut, opened; and why others are left out."""
    halves, failures = [], []
    with tempfile.TemporaryDirectory() as folder:
        head, tail = Path(folder) / "head.onnx", Path(folder) / "tail.onnx"
        for point in parsed.cut_points():
            try:
                parsed.write(point, head, tail)
                first = _runner(_open(head), manifest.input.name, point.tensor)
                halves.append(_Halves(point, first, _runner(_open(tail), point.tensor, manifest.output.name)))
            except ModelError as why:
                failures.append(str(why))
    return halves, failures


def _measure(halves: _Halves, truth: _Truth) -> Sent:
    """Whether the halves answer as the whole does, and what each packing costs; the smallest within budget is taken."""
    point, between = halves.point, [halves.head(window) for window in truth.windows]
    joined = _all(halves.tail, between)
    difference = float(np.abs(joined - truth.logits).max())
    same = difference <= TOLERANCE * float(np.abs(truth.logits).max())
    exact = point.kind != "float32"
    packing, size, accuracy, kept = None, 0, truth.right(joined), 1.0
    for tried in PACKINGS[:1] if exact else PACKINGS:
        payloads = [halves.pack(one, tried) for one in between]
        arrived = joined if exact else _all(halves.tail, [unpack(one, between[0]) for one in payloads])
        if tried == PACKINGS[0]:
            kept = float((arrived.argmax(axis=1) == truth.logits.argmax(axis=1)).mean())
        if same and truth.accuracy - truth.right(arrived) <= truth.budget:
            packing, accuracy = tried, truth.right(arrived)
            size = round(sum(map(len, payloads)) / len(payloads))
            break
    return Sent(
        name=point.tensor,
        operator=point.operator,
        kind=point.kind,
        values=point.values,
        packing=packing,
        size=size,
        float_size=len(halves.pack(between[0].astype(np.float32), "float32")),
        int8_agreement=kept,
        accuracy=accuracy,
        difference=difference,
    )


def _times(
    checked: Mapping[_Halves, Sent],
    window: Windows,
    seconds: float,
    clock: Callable[[], float],
) -> dict[_Halves, dict[str, float]]:
    """Seconds of head, tail, writing and reading of each cut, all timed in turn; of each its best round.

    Medians would do on a quiet machine. On a busy one they slow what runs for milliseconds more than what runs for
    microseconds, and so the whole more than its halves.
    """
    works: list[Callable[[], object]] = []
    for halves, sent in checked.items():
        tensor, packing = halves.head(window), sent.packing or PACKINGS[0]
        works += [
            partial(halves.head, window),
            partial(halves.tail, tensor),
            partial(halves.pack, tensor, packing),
            partial(unpack, halves.pack(tensor, packing), tensor),
        ]
    found = map(min, rounds(works, seconds=seconds, clock=clock))
    return {each: {part: next(found) for part in ("head", "tail", "write", "read")} for each in checked}


def _same(window: Tensor) -> Tensor:
    return window


def _all(run: Callable[[Tensor], Tensor], feeds: Sequence[Tensor]) -> Logits:
    return np.concatenate([run(feed) for feed in feeds])


def _open(path: Path) -> Any:
    return ort.open_session(path, resolve("cpu"), threads=1, spinning=False)


def _runner(session: Any, source: str, output: str) -> Callable[[Tensor], Tensor]:
    """A call that runs a session; ONNX Runtime's errors become ours."""

    def run(feed: Tensor) -> Tensor:
        try:
            found: Tensor = session.run([output], {source: feed})[0]
        except ort.ERRORS as why:
            raise ModelError(f"{source} → {output}: {str(why).strip()}") from why
        return found

    return run
