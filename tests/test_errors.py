"""An error names the thing, the value and the way out, in one line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsfast.errors import NsfastError, choice, nearest, within


def test_the_nearest_name_is_proposed_and_else_all_are_listed():
    assert nearest("thresold", ["threshold", "per_class"]) == "; did you mean 'threshold'?"
    assert nearest("zzz", ["b", "a"]) == "; valid names: a, b"


@given(st.sampled_from(["threshold", "per_class", "method", "seed"]), st.data())
def test_a_name_with_one_letter_missing_finds_itself(name, data):
    i = data.draw(st.integers(0, len(name) - 1))
    assert repr(name) in nearest(name[:i] + name[i + 1 :], ["threshold", "per_class", "method", "seed"])


def test_choice_returns_what_is_valid_and_refuses_the_rest():
    assert choice("method", "top", ("top", "none")) == "top"
    with pytest.raises(NsfastError, match=r"^unknown method 'topp'; did you mean 'top'\?$"):
        choice("method", "topp", ("top", "none"))


@pytest.mark.parametrize("value", [0, 0.5, 1])
def test_within_includes_both_ends(value):
    assert within("threshold", value, 0, 1) is value


@pytest.mark.parametrize(
    ("value", "high", "said"),
    [(-0.01, 1, "between 0 and 1"), (1.01, 1, "between 0 and 1"), (float("nan"), 1, "between 0 and 1"),
     (-1, float("inf"), "at least 0"), (float("nan"), float("inf"), "at least 0")],
)  # fmt: skip
def test_within_names_value_and_range(value, high, said):
    with pytest.raises(NsfastError, match=f"^threshold is {value!r}; it must be {said}$"):
        within("threshold", value, 0, high)


def test_an_nsfast_error_is_a_value_error():
    assert issubclass(NsfastError, ValueError)
