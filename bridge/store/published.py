"""Which windows had a Result published, read from the Results that are kept."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec

from bridge.messages import SeriesKey
from bridge.store.kept_file import Query
from bridge.topics import parse_result

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bridge.store.kept_file import Entry

MOST_IDS = 65_536  # of published Results that are read after a journal was lost

_K = TypeVar("_K")
_T = TypeVar("_T")


class _Named(msgspec.Struct):
    id: str
    device: str
    stream: str
    epoch: str
    provisional: bool = False


_name_of = msgspec.json.Decoder(_Named).decode


class Published(NamedTuple):
    """Which windows had a Result published, as far as it is kept.

    Attributes:
        final: ids of those with a final one, oldest first, each with the number of its record.
        provisional: ids of those with a provisional one only.
        series: whose windows they are.
    """

    final: dict[str, int]
    provisional: set[str]
    series: frozenset[SeriesKey] = frozenset()


async def read_published(read: Callable[[Query], Awaitable[tuple[list[Entry], int] | None]]) -> Published:
    """The windows of the newest Results, at most `MOST_IDS` of either kind.

    Args:
        read: the Results of the next block and the number to go on after; None when there are no more.

    Raises:
        StoreError: they cannot be read.
    """
    found: dict[str, int] = {}
    provisional: dict[str, None] = {}
    series: dict[SeriesKey, None] = {}
    query = Query()
    while (chunk := await read(query)) is not None:
        entries, last = chunk
        for entry in entries:
            name = _name_of(entry.payload)
            if (place := parse_result(entry.topic)) is not None:
                series[SeriesKey(place.site, name.device, name.stream, name.epoch)] = None
            if name.provisional:
                provisional[name.id] = None
            else:
                found[name.id] = entry.n
                provisional.pop(name.id, None)
        _keep_newest(found)
        _keep_newest(provisional)
        _keep_newest(series)
        query = query._replace(after=last)
    return Published(found, provisional.keys() - found.keys(), frozenset(series))


def _keep_newest(named: dict[_K, _T]) -> None:
    for old in list(islice(named, max(0, len(named) - MOST_IDS))):
        del named[old]
