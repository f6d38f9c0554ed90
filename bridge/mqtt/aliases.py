"""Topic Aliases (MQTT 5 section 3.3.2.3.4): a number for a topic, for as long as one connection lasts."""

from __future__ import annotations

from bridge.errors import RemoteProtocolError

ALIAS_INVALID = 0x94


class TheirAliases:
    """What the broker abbreviates towards us.

    Args:
        maximum: our Topic Alias Maximum, which bounds the table.
    """

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._topics: dict[int, str] = {}

    def clear(self) -> None:
        """Begin a new connection."""
        self._topics.clear()

    def resolve(self, topic: str, alias: int) -> str:
        """The topic meant; one that was given goes by the alias from now on.

        Raises:
            RemoteProtocolError: the alias is above our maximum, or nothing goes by it yet.
        """
        if not 0 < alias <= self._maximum:
            raise RemoteProtocolError(f"topic alias {alias}, and we allowed {self._maximum}", code=ALIAS_INVALID)
        if topic:
            self._topics[alias] = topic
            return topic
        known = self._topics.get(alias)
        if known is None:
            raise RemoteProtocolError(f"topic alias {alias} stands for nothing yet", code=ALIAS_INVALID)
        return known


class OurAliases:
    """What we abbreviate towards the broker: the first topics of a connection, which are the frequent ones here.

    Args:
        wanted: topics to abbreviate at most.
    """

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        self._numbers: dict[str, int] = {}
        self.limit = 0  # of this connection; 0 while nothing is to be abbreviated

    def begin(self, maximum: int) -> None:
        """Begin a new connection, with the broker's Topic Alias Maximum."""
        self.limit = min(self._wanted, maximum)
        self._numbers.clear()

    def choose(self, topic: str) -> tuple[int, bool]:
        """Alias for a topic, 0 for none; and whether the broker knows it, once `given`."""
        number = self._numbers.get(topic)
        if number is not None:
            return number, True
        return (len(self._numbers) + 1, False) if len(self._numbers) < self.limit else (0, False)

    def given(self, topic: str, alias: int) -> None:
        """A PUBLISH with topic and alias is on its way."""
        self._numbers[topic] = alias
