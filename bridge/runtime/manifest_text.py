"""Keys of a TOML text set without touching what stands around them: comments, order and blank lines stay.

Needs nothing but the standard library: whoever trains a model writes its manifest with the same words.
"""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_LINE = re.compile(r"[^\n]*\n|[^\n]+")  # str.splitlines knows more line ends than TOML

Value: TypeAlias = "str | float | Sequence[Value]"


def value(of: Value) -> str:
    """A string, a number, or an array of those, as TOML writes it."""
    if isinstance(of, str):
        return json.dumps(of, ensure_ascii=False).replace("\x7f", "\\u007f")  # JSON allows it as it is, TOML does not
    if isinstance(of, float):
        return repr(float(of))  # a NumPy float is a float with a repr of its own
    if isinstance(of, int):
        return str(of)
    return f"[{', '.join(map(value, of))}]"


def set_in_variant(text: str, name: str, values: Mapping[str, Value], note: str) -> str:
    """Set keys of the `[[variants]]` table of that name.

    Args:
        text: the manifest.
        name: the variant's.
        values: what each key becomes, in the order in which new ones are added; an empty array takes the key out.
        note: what it comes from, in one line; it becomes a comment above the first key, in place of an earlier note
            with the same first word.

    Raises:
        ValueError: there is no such table, or it is written in another way than under a `[[variants]]` header.
    """
    sections = list(_sections(text))
    for index, section in enumerate(sections):
        if section.header == "[[variants]]" and tomllib.loads(section.body()).get("name") == name:
            sections[index] = section.with_keys(values, note, _ending(text))
            return "".join(map(str, sections))
    raise ValueError(f"it has no [[variants]] table named {name!r} of its own")


def set_table(text: str, name: str, values: Mapping[str, Value], note: str) -> str:
    """Set the keys of the table `[name]`, made before the first `[[variants]]` if there is none; see `set_in_variant`.

    Raises:
        ValueError: the table is written in another way than under a header of its own.
    """
    sections = list(_sections(text))
    at = next((i for i, one in enumerate(sections) if one.header == f"[{name}]"), None)
    if at is None:
        if name in tomllib.loads(text):
            raise ValueError(f"it has no [{name}] table under a header of its own")
        at = next((i for i, one in enumerate(sections) if one.header == "[[variants]]"), len(sections))
        end = _ending(text)
        sections.insert(at, _Section(f"[{name}]", [_Statement("", f"[{name}]{end}"), _Statement("", end)]))
    sections[at] = sections[at].with_keys(values, note, _ending(text))
    return "".join(map(str, sections))


@dataclass(frozen=True, slots=True)
class _Statement:
    """A key with its value, over one line or more; or, with the key "", a header, a comment, a blank line."""

    key: str
    text: str


@dataclass(frozen=True, slots=True)
class _Section:
    """A header and what follows until the next."""

    header: str
    statements: list[_Statement]

    def __str__(self) -> str:
        return "".join(one.text for one in self.statements)

    def body(self) -> str:
        return "".join(one.text for one in self.statements if one.key)

    def with_keys(self, values: Mapping[str, Value], note: str, end: str) -> _Section:
        earlier = ["#", *note.split()[:1]]
        lines = [one for one in self.statements if one.key or one.text.split()[:2] != earlier]
        after = max((i for i, one in enumerate(lines) if one.key), default=0) + 1
        for key, of in values.items():
            at = next((i for i, one in enumerate(lines) if one.key == key), None)
            old = "" if at is None else lines.pop(at).text
            after -= at is not None and at < after
            if isinstance(of, list | tuple) and not of:
                continue
            at = after if at is None else at
            lines.insert(at, _Statement(key, f"{key} = {value(of)}{_comment(old)}{end}"))
            after = at + 1
        first = next((i for i, one in enumerate(lines) if one.key in values), after)
        said = "".join(one if one.isprintable() else " " for one in note)
        return _Section(self.header, [*lines[:first], _Statement("", f"# {said}{end}"), *lines[first:]])


def _sections(text: str) -> Iterator[_Section]:
    header = ""
    statements: list[_Statement] = []
    for one in _statements(text):
        if not one.key and one.text.lstrip().startswith("["):
            yield _Section(header, statements)
            header, statements = "".join(one.text.partition("#")[0].split()), []
        statements.append(one)
    yield _Section(header, statements)


def _statements(text: str) -> Iterator[_Statement]:
    lines = [line if line.endswith("\n") else f"{line}{_ending(text)}" for line in _LINE.findall(text)]
    at = 0
    while at < len(lines):
        taken = 1
        bare = lines[at].lstrip()
        if not bare or bare[0] in "#[":
            yield _Statement("", lines[at])
        else:
            while (key := _key("".join(lines[at : at + taken]))) is None and at + taken < len(lines):
                taken += 1
            yield _Statement(key or "?", "".join(lines[at : at + taken]))
        at += taken


def _key(text: str) -> str | None:
    """The key of a whole statement; None where it goes on."""
    try:
        return next(iter(tomllib.loads(text)))
    except tomllib.TOMLDecodeError:
        return None


def _comment(text: str) -> str:
    """What a person wrote behind a value of one line."""
    line = text.rstrip()
    _, mark, said = line.rpartition("#")
    return f"  # {said.strip()}" if mark and "\n" not in line and '"' not in said else ""


def _ending(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"
