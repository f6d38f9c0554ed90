from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import pytest

from bridge.errors import ConfigError
from bridge.settings import InvalidKey, beside, load

if TYPE_CHECKING:
    from pathlib import Path


class Stream(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    rate: Annotated[float, msgspec.Meta(gt=0)] = 50.0

    def __post_init__(self) -> None:
        if " " in self.name:
            raise InvalidKey("name", "no spaces")


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    site: str | None = None


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    agent: Section
    streams: list[Stream] = []
    extra: Section | None = None
    shares: dict[Literal["a", "b.c"], Annotated[float, msgspec.Meta(le=1)]] = {}
    modes: list[Literal["slow", "fast"] | None] = []
    deep: dict[str, dict[str, list[Literal[1, 2]]]] = {}
    named: dict[str, Stream] = {}


def given(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "a.toml"
    file.write_text(text)
    return file


def test_loads(tmp_path: Path) -> None:
    file = given(tmp_path, '[agent]\nid = "x"\n[[streams]]\nname = "s"\nrate = 5\n')
    settings = load(file, Settings)
    assert settings.agent.id == "x"
    assert settings.streams == [Stream("s", 5.0)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "agent: missing"),
        ("[agent]\n", "agent.id: missing"),
        ('[agent]\nid = "x"\nsiet = "y"', "agent.siet: unknown key; did you mean `site`?"),
        ('[agent]\nid = "x"\n[agnt]', "agnt: unknown key; did you mean `agent`?"),
        ('[agent]\nid = "x"\n[extra]\nid = "x"\nzzz = 1', "extra.zzz: unknown key; known here: id, site"),
        ('[agent]\nid = "x"\n[[streams]]\nname = "s"\nrat = 1', "streams[0].rat: unknown key; did you mean `rate`?"),
        ('[agent]\nid = "x"\n[named.q]\nname = "s"\nrat = 1', "named.q.rat: unknown key; did you mean `rate`?"),
        ('[agent]\nid = "x"\n[[streams]]\nname = "s"\nrate = "5"', "streams[0].rate: Expected `float`, got `str`"),
        ('[agent]\nid = "x"\n[[streams]]\nname = "s"\nrate = 0', "streams[0].rate: Expected `float` > 0.0"),
        ('[agent]\nid = "x"\n[[streams]]\nname = "s t"', "streams[0].name: no spaces"),
        ('agent.id = "x"\nshares = {a = 1, "b.c" = 2}', "shares.b.c: Expected `float` <= 1.0"),
        ('agent.id = "x"\nshares = {a = 1, "b.c" = "x"}', "shares.b.c: Expected `float`, got `str`"),
        ('agent.id = "x"\nshares = {c = 1}', "shares: Invalid enum value 'c'; there are a, b.c"),
        ('agent.id = "x"\nmodes = ["slow", "fats"]', "modes[1]: Invalid enum value 'fats'; there are fast, slow"),
        ('agent.id = "x"\ndeep = {a.x = [2], b = {y = [1], "z.z" = [1, 7]}}', "deep.b.z.z[1]: Invalid enum value 7;"),
        ('agent.id = "x"\nnamed = {q = {name = "s"}, r = {name = "s", rate = 0}}', "named.r.rate: Expected `float`"),
        ('agent.id = "x"\nnamed = {q = {name = "s"}, r = {name = "s t"}}', "named.r.name: no spaces"),
        ('agent.id = "x"\nnamed = {q = {name = "s"}, r = {}}', "named.r.name: missing"),
        ("agent = 3", "agent: Expected `object`, got `int`"),
        ("agent = ", "not TOML"),
    ],
)  # fmt: skip
def test_says_file_key_and_why(tmp_path: Path, text: str, says: str) -> None:
    file = given(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(file, Settings)
    assert str(caught.value).startswith(f"{file}: {says}")


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.toml: cannot be read: No such file"):
        load(tmp_path / "no.toml", Settings)
    (tmp_path / "b.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not UTF-8 at byte 0"):
        load(tmp_path / "b.toml", Settings)


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    assert beside(tmp_path / "a.toml", "state") == tmp_path / "state"
    assert beside(tmp_path / "a.toml", "/etc/x") == beside("/etc/y.toml", "/etc/x")
