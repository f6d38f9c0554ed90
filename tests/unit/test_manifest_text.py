"""Keys set in a manifest that a person wrote."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.runtime.manifest_text import set_in_variant, set_table, value

if TYPE_CHECKING:
    from bridge.runtime.manifest_text import Value

WRITTEN = """\
# a head
schema = 1

[input]          # what goes in
channels = [
  "x",           # [not a header]
  "y",
]

[[variants]]
# the first
name = "a"
text = \"\"\"
[[variants]]
name = "b"
\"\"\"
below = 0.5      # by feeling
# a tail

[[ variants ]]   # the second
name = "b"       # "b"
escalation = [
  [0.1, 0.2],
  [0.3, 0.4],
]
temperature = 1.0

[other]
name = "a"
"""


def test_only_the_keys_change() -> None:
    made = set_in_variant(WRITTEN, "a", {"temperature": 0.75, "below": 0.7}, "calibrated on 9 windows")
    expected = WRITTEN.replace(
        "below = 0.5      # by feeling\n",
        "# calibrated on 9 windows\ntemperature = 0.75\nbelow = 0.7  # by feeling\n",
    )
    assert sorted(made.splitlines()) == sorted(expected.splitlines())
    changed = tomllib.loads(made)
    before = tomllib.loads(WRITTEN)
    before["variants"][0] |= {"temperature": 0.75, "below": 0.7}
    assert changed == before
    assert made.index("# a head") < made.index("# the first") < made.index("# a tail") < made.index("# the second")


def test_a_value_of_many_lines_is_replaced_and_an_empty_one_taken_out() -> None:
    made = set_in_variant(WRITTEN, "b", {"escalation": [[0.5, 0.6]], "target": "up<=0.2"}, "calibrated")
    assert 'name = "b"       # "b"\n# calibrated\nescalation = [[0.5, 0.6]]\ntarget = "up<=0.2"\ntemperature' in made
    gone = set_in_variant(made, "b", {"escalation": [], "temperature": 2.0}, "calibrated")
    assert "escalation" not in gone
    assert tomllib.loads(gone)["variants"][1] == {"name": "b", "temperature": 2.0, "target": "up<=0.2"}


def test_a_second_time_changes_nothing_and_replaces_the_note() -> None:
    values: dict[str, Value] = {"temperature": 0.75, "below": 0.7, "escalation": [[0.1, 0.2]]}
    once = set_in_variant(WRITTEN, "a", values, "calibrated on 9 windows")
    assert set_in_variant(once, "a", values, "calibrated on 9 windows") == once
    again = set_in_variant(once, "a", values, "calibrated on 10 windows")
    assert again == once.replace("on 9 windows", "on 10 windows")


def test_a_table_is_made_before_the_variants_or_changed_where_it_is() -> None:
    made = set_table(WRITTEN, "fidelity", {"int8": 0.003}, "measured")
    assert "\n[fidelity]\n# measured\nint8 = 0.003\n\n[[variants]]\n# the first" in made
    assert set_table(made, "fidelity", {"int8": 0.004}, "measured") == made.replace("0.003", "0.004")
    assert tomllib.loads(set_table("schema = 1\n", "fidelity", {"int8": 0.0}, "measured"))["fidelity"] == {"int8": 0.0}


def test_what_only_python_takes_for_a_line_end_is_none() -> None:
    odd = WRITTEN.replace("# a tail", "# a\u2028name = tail\x85")
    made = set_in_variant(odd, "a", {"temperature": 0.5}, "calibrated")
    assert "# a\u2028name = tail\x85\n" in made
    assert tomllib.loads(made)["variants"][0]["temperature"] == 0.5


def test_an_indented_file_without_a_last_line_end() -> None:
    made = set_in_variant('  [[variants]]\n  name = "a"', "a", {"below": 0.5}, "calibrated")
    assert made == '  [[variants]]\n  name = "a"\n# calibrated\nbelow = 0.5\n'


def test_line_ends_stay_as_they_are() -> None:
    windows = WRITTEN.replace("\n", "\r\n")
    made = set_in_variant(windows, "b", {"target": "up<=0.2", "temperature": 3.0}, "calibrated")
    assert made.count("\r\n") == made.count("\n")
    assert tomllib.loads(made)["variants"][1]["temperature"] == 3.0


def test_a_note_stays_one_comment() -> None:
    made = set_in_variant(WRITTEN, "a", {"below": 0.1}, "calibrated on a\nb = 1\x00")
    assert "# calibrated on a b = 1 \n" in made


@pytest.mark.parametrize("text", ["schema = 1\n", 'variants = [{ name = "a" }]\n', WRITTEN.replace('"a"', '"c"')])
def test_what_is_written_otherwise_is_said(text: str) -> None:
    with pytest.raises(ValueError, match="no \\[\\[variants\\]\\] table named 'a'"):
        set_in_variant(text, "a", {"below": 0.1}, "calibrated")
    with pytest.raises(ValueError, match=r"no \[fidelity\] table under a header"):
        set_table("fidelity = { int8 = 0.1 }\n" + text, "fidelity", {"int8": 0.2}, "measured")


@given(
    st.recursive(
        st.text(st.characters(codec="utf-8")) | st.floats(allow_nan=False, allow_infinity=False) | st.integers(0, 99),
        lambda inner: st.lists(inner, max_size=3),
    )
)
def test_values_are_read_back(of: object) -> None:
    assert tomllib.loads(f"key = {value(of)}\n")["key"] == of  # type: ignore[arg-type]


def test_numbers_of_numpy() -> None:
    assert value(np.float64(0.25)) == "0.25"
