"""Strings numbered by the core, against a dictionary."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matfac import _engine


def check(texts: list[bytes], skipped: bytes = b"") -> None:
    """Number the texts, which begin after some other bytes."""
    bounds = len(skipped) + np.cumsum([0, *map(len, texts)])
    data = np.frombuffer(skipped + b"".join(texts), np.uint8)
    numbers, firsts = _engine.number_strings(bounds, data)
    known: dict[bytes, int] = {}
    assert numbers.tolist() == [known.setdefault(text, len(known)) for text in texts]
    assert [texts[first] for first in firsts] == list(known)
    assert firsts.tolist() == [texts.index(text) for text in known]


@given(st.lists(st.binary(max_size=20)), st.binary(max_size=3))
def test_strings_get_the_numbers_of_a_dictionary(texts: list[bytes], skipped: bytes) -> None:
    check(texts, skipped)


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 16, 17])
def test_one_byte_makes_another_string(length: int) -> None:
    text = bytes(length)
    others = [text[:at] + b"\1" + text[at + 1 :] for at in range(length)]
    check([text, *others, text + b"\0", *others, text])


def test_many_strings() -> None:
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, 30_000, 60_000).tolist()
    texts = [f"user-{number}" for number in drawn]
    numbers, firsts = _engine.number_strings(
        np.cumsum([0, *map(len, texts)]), np.frombuffer("".join(texts).encode(), np.uint8)
    )
    known: dict[int, int] = {}
    assert numbers.tolist() == [known.setdefault(number, len(known)) for number in drawn]
    assert [drawn[first] for first in firsts] == list(known)


@pytest.mark.parametrize(
    ("bounds", "why"),
    [
        ([], "must be a vector of n"), ([-1, 2], "must lie within data"),
        ([0, 4], "must lie within data"), ([0, 3, 2, 3], "must not fall"),
    ],
)  # fmt: skip
def test_bounds_are_checked(bounds: list[int], why: str) -> None:
    with pytest.raises(ValueError, match=f"bounds {why}"):
        _engine.number_strings(np.array(bounds, np.int64), np.zeros(3, np.uint8))
