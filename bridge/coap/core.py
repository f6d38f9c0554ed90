"""`.well-known/core`: what there is to be found here, in link format (RFC 6690)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOST = 256

_OBSERVATIONS = (
    "/edge/v1",
    'rt="edge.observation"',
    'ct="50 60"',
    'title="POST an Observation to edge/v1/{site}/{device}/data/{stream}"',
)


def links(results: Iterable[str], query: Iterable[str] = ()) -> str:
    """The list of resources.

    Args:
        results: paths with a newest Result; the first 256 are listed.
        query: filters as `rt=edge.result` or `href=/edge/v1/plant/*` (RFC 6690 section 4.1); others are not heeded.

    Returns:
        Links, separated by commas.
    """
    found = [_OBSERVATIONS]
    for path, _ in zip(results, range(_MOST), strict=False):
        found.append((f"/{path}", 'rt="edge.result"', 'ct="50"', "obs"))
    for part in query:
        name, _, wanted = part.partition("=")
        found = [link for link in found if _fits(link, name, wanted)]
    return ",".join(";".join([f"<{href}>", *attributes]) for href, *attributes in found)


def _fits(link: tuple[str, ...], name: str, wanted: str) -> bool:
    if name == "href":
        values = [link[0]]
    elif name in {"rt", "ct"}:
        values = next((a.partition("=")[2].strip('"').split() for a in link[1:] if a.startswith(f"{name}=")), [])
    else:
        return True
    return any(v.startswith(wanted[:-1]) if wanted.endswith("*") else v == wanted for v in values)
