"""What one stream may use and what it uses now: from rows to `bridge.link.Chooser` and back to a `Writing`."""

from __future__ import annotations

import logging
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from bridge.errors import ConfigError
from bridge.link import Chooser, Encoding, Profile, Stream, enumerate_profiles
from bridge.link.profiles import PACKINGS, TRANSPORTS
from bridge.settings import InvalidKey
from bridge.wire.formats import Format
from bridge.wire.observation import encode_observation
from edge_agent.uplink import Writing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.link import Decision, Estimate, Limits
    from bridge.link.events import Protocol
    from bridge.messages import Observation
    from bridge.wire.arrays import Packing
    from edge_agent import config
    from edge_agent.link_settings import Link

log = logging.getLogger(__name__)

RATE = 50.0  # rows a second, where neither settings nor recording tell
LOSSLESS = frozenset({"json", "float32"})
ZSTD = "+zstd"
BUNCHED = 0.01  # seconds within which rows that were handed over at once come
NO_LIMIT = 1 << 32  # bytes


class Coding(NamedTuple):
    """How an encoding is written."""

    form: Format
    packing: Packing
    zstd: bool = False


_PLAIN = {  # best liked first
    "float32": Coding(Format.CBOR, "float32"),
    "float16": Coding(Format.CBOR, "float16"),
    "int8": Coding(Format.CBOR, "int8"),
    "int4": Coding(Format.CBOR, "int4"),
    "json": Coding(Format.JSON, "float32"),
}
CODINGS = _PLAIN | {f"{name}{ZSTD}": coding._replace(zstd=True) for name, coding in _PLAIN.items()}
COMPUTING = {  # seconds a message at both ends, cold, beyond float32's: python -m tests.netlab.computing
    "float32": 0.0, "float16": 0.00012, "int8": 0.0002, "int4": 0.00017, "json": 0.00001,
    "float32+zstd": 0.00012, "float16+zstd": 0.00019, "int8+zstd": 0.00028, "int4+zstd": 0.00026, "json+zstd": 0.00018,
}  # fmt: skip


def measured(observation: Observation, link: Link, *, unit: int = 1) -> tuple[Encoding, ...]:
    """What encodings cost for rows like these; those that lose something are offered only with a measured fidelity.

    Args:
        observation: at least one row, with everything else that messages of its stream carry.
        link: says what encodings lose.
        unit: rows that count as one.
    """
    rows = len(observation.values)
    twice = msgspec.structs.replace(observation, values=np.concatenate([observation.values, observation.values]))
    found: dict[str, Encoding] = {}
    sizes: dict[str, int] = {}
    for name, cost in _offered(link).items():
        form, packing, zstd = CODINGS[name]
        sizes[name] = once = len(encode_observation(observation, form, packing=packing, zstd=zstd))
        plain = name.removesuffix(ZSTD)
        if zstd:
            found[name] = _smaller(found[plain], name, sizes[plain] - once)
        else:
            row = (len(encode_observation(twice, form, packing=packing)) - once) / rows
            found[name] = Encoding(name, unit * row, max(0.0, once - rows * row), cost, COMPUTING[name])
    return tuple(found.values())


def _offered(link: Link) -> dict[str, float]:
    """Encodings and the accuracy that they cost; a frame of zstd around one loses nothing more."""
    plain = {name.removesuffix(ZSTD) for name in CODINGS} & (LOSSLESS | link.fidelity.keys())
    return {
        name: link.fidelity.get(name.removesuffix(ZSTD), 0.0) for name in CODINGS if name.removesuffix(ZSTD) in plain
    }


def _smaller(plain: Encoding, name: str, saved: int) -> Encoding:
    """What zstd makes of an encoding, from one message.

    What it saved counts as saved of the message, never of its rows: those of a sensor at rest vanish, and tell nothing
    of the rows to come. So JSON and many rows a message are smaller than is reckoned here, by half and by a twentieth.

    Args:
        plain: without zstd.
        name: with it.
        saved: bytes of a message.
    """
    beside = max(0.0, plain.message_bytes - saved)
    return Encoding(name, plain.row_bytes, beside, plain.accuracy_cost, COMPUTING[name])


def names_any(pattern: str) -> bool:
    """Whether a profile is called so, whatever the stream, its model and the ways that there are."""
    return any(
        fnmatchcase(Profile(transport, copies, Encoding(name, 1.0, 0.0), rows, 0.0).name, pattern)
        for transport, copies in TRANSPORTS
        for name in CODINGS
        for rows in PACKINGS
    )


class Choice:
    """Of one stream. Nothing is chosen before its first rows tell how large they are: until then it is as configured.

    Args:
        stream: its settings.
        link: what is wanted, with the stream's own wishes in it.
        limits: what the other sides take.
        ways: protocols there are.
        name_bytes: length of its topic.

    Attributes:
        decision: the latest; None before the first rows.
        zstd: the bridge takes it, as far as is known.
        packs: and numbers shorter than float32.

    Raises:
        InvalidKey: `pin` or `exclude` leaves nothing, or nothing that costs no more than `budget`.
    """

    def __init__(
        self, stream: config.Stream, link: Link, limits: Limits, *, ways: Iterable[Protocol], name_bytes: int
    ) -> None:
        self.stream = stream
        self.decision: Decision | None = None
        self.zstd = self.packs = True
        self._writing: Writing | None = None
        self._link, self._limits, self._name_bytes = link, limits, name_bytes
        ways = frozenset(ways)
        self._exclude = [*link.exclude, *(f"{way}-*" for way in ("coap", "mqtt") if way not in ways)]
        self._unit = stream.rows_per_message if stream.windows == "whole" else link.burst
        self._chooser: Chooser | None = None
        self._encodings: tuple[Encoding, ...] = ()
        allowed = self._allowed(ways)
        self._check_budget(allowed)
        self.protocols = frozenset(profile.protocol for profile in allowed)

    def _allowed(self, ways: frozenset[Protocol]) -> tuple[Profile, ...]:
        link, needs = self._link, self._needs(tuple(Encoding(name, 1.0, 0.0) for name in _offered(self._link)))
        absent = self._exclude[len(link.exclude) :]  # ways that there are not
        key, what = "pin", f"no profile matches {link.pin!r}"
        try:
            enumerate_profiles(needs, self._limits, pin=link.pin, exclude=absent)
            key, what = "exclude", f"nothing is left of what pin {link.pin!r} matches without {link.exclude}"
            return enumerate_profiles(needs, self._limits, pin=link.pin, exclude=self._exclude)
        except ConfigError as why:
            there = f"ways are {', '.join(sorted(ways))}, encodings {', '.join(one.name for one in needs.encodings)}"
            raise InvalidKey(
                key, f"{what}: {there} (what loses something needs link.fidelity), {self._counted}"
            ) from why

    def _check_budget(self, allowed: Iterable[Profile]) -> None:
        """Accuracy beyond the budget is nothing that a pin may spend without a word."""
        link, costs = self._link, _offered(self._link)
        cost, name = min((costs[one.encoding.name], one.encoding.name) for one in allowed)
        if cost > link.budget:
            key, what = ("pin", f"pin {link.pin!r}") if link.pin != "*" else ("exclude", f"exclude {link.exclude}")
            raise InvalidKey(
                key,
                f"stream {self.stream.name!r}: {what} leaves {name} at best, which costs {cost:g} of accuracy by "
                f"link.fidelity, and the budget is {link.budget:g}: raise it, or let in what costs less",
            )

    @property
    def _counted(self) -> str:
        """What the last part of a profile's name counts."""
        if self.stream.windows == "whole":
            return "one whole window a message, 1"
        units = "rows" if self._unit == 1 else f"bursts of {self._unit} rows"
        return f"{units} a message 1, 2, 4 … 128, as far as freshness and link.hop allow"

    @property
    def profile(self) -> Profile | None:
        """The present one."""
        return None if self.decision is None else self.decision.profile

    def seen(self, observation: Observation) -> None:
        """Rows of this stream; the first ones tell how large they are."""
        if self._chooser is None:
            self._encodings = measured(observation, self._link, unit=self._unit)
            self._chooser = self._choosing(self._needs(self._encodings))

    def without_zstd(self) -> None:
        """The bridge does not know it: what is left is chosen from anew, and written plain even if zstd is pinned."""
        if self.zstd:
            self.zstd = False
            self._narrow("zstd")

    def without_packing(self) -> None:
        """As `without_zstd`, of numbers shorter than float32."""
        if self.packs:
            self.packs = False
            self._narrow("numbers shorter than float32")

    def write_freely(self) -> bool:
        """The bridge refused rows for what they say: how they are written is free again. False: it was all the time."""
        if self.zstd and self.packs:
            return False
        self.zstd = self.packs = True
        log.info(
            "stream %s: how its rows are written was not why they were refused; it is free again", self.stream.name
        )
        self._renew()
        return True

    def _narrow(self, what: str) -> None:
        log.warning(
            "stream %s: the bridge refused rows in %s; they go without. Is it older than this agent?",
            self.stream.name,
            what,
        )
        self._renew()

    def _renew(self) -> None:
        """Chooses anew from what the bridge takes."""
        plain = tuple(one for one in self._encodings if self._is_taken(one.name))
        self._writing = self._written()
        with suppress(ConfigError):  # the pin
            self._chooser = self._choosing(self._needs(plain))

    def _is_taken(self, encoding: str) -> bool:
        return (self.zstd or not encoding.endswith(ZSTD)) and (self.packs or encoding.removesuffix(ZSTD) in LOSSLESS)

    def _choosing(self, needs: Stream) -> Chooser:
        """Pins and exclusions leave something, as was seen at the start; where none of it fits, it goes all the same.

        A message that the other side does not take gets its refusal, and NON in blocks goes confirmable.
        """
        large = msgspec.structs.replace(self._limits, most_bytes=NO_LIMIT)
        try:
            return self._chooser_within(self._limits, needs)
        except ConfigError:
            log.warning("stream %s: its messages are too large for every profile that is left", self.stream.name)
        try:
            return self._chooser_within(large, needs)
        except ConfigError:
            return self._chooser_within(msgspec.structs.replace(large, block_size=NO_LIMIT), needs)

    def _chooser_within(self, limits: Limits, needs: Stream) -> Chooser:
        return Chooser(needs, limits, pin=self._link.pin, exclude=self._exclude)

    def look(self, now: float, estimate: Estimate) -> Decision | None:
        """Chooses anew; the decision, if that is another profile than before."""
        if self._chooser is None:
            return None
        self.decision = self._chooser.choose(now, estimate)
        if not self.decision.switched:
            return None
        self._writing = self._written()
        return self.decision

    def writing(self) -> Writing | None:
        """How rows are to be written; None: as the settings say."""
        return self._writing

    def _written(self) -> Writing | None:
        profile = self.profile
        if profile is None:
            return None
        form, packing, zstd = CODINGS[profile.encoding.name]
        spare = profile.longest_wait / (profile.rows - 1) if profile.rows > 1 else 0.0  # the last row may be late
        wait = profile.longest_wait + spare + (BUNCHED if self._unit > 1 else 0.0)
        packing = packing if self.packs else "float32"
        return Writing(form, packing, profile.rows * self._unit, wait, zstd and self.zstd)

    def _needs(self, encodings: tuple[Encoding, ...]) -> Stream:
        stream = self.stream
        rate = (stream.rate or RATE) * (stream.speed if stream.source == "replay" and stream.speed else 1.0)
        return Stream(
            rate / self._unit,
            self._link.freshness,
            self._link.budget,
            encodings,
            hop=1 if stream.windows == "whole" else self._link.hop // self._unit,
            name_bytes=self._name_bytes,
        )
