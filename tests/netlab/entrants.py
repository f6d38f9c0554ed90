"""All contestants, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.netlab.contestants import RIVALS
from tests.netlab.ours import Ours

if TYPE_CHECKING:
    from tests.netlab.contestants import Contestant

CONTESTANTS: dict[str, Contestant] = {one.name: one for one in (Ours(), *RIVALS)}
DEFAULT = ("ours", "mqtt", "coap")
