import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noldo.draws import first_words

numbers = st.integers(0, 2**70)


@given(key=st.lists(numbers, max_size=4), ids=st.lists(st.integers(0, 2**32 - 1), max_size=5))
def test_words_of_many_are_those_that_numpy_draws_for_each(key: list[int], ids: list[int]) -> None:
    expected = [np.random.SeedSequence([*key, one]).generate_state(1)[0] for one in ids]
    found = first_words(key, np.array(ids, np.int64))
    assert found.dtype == np.uint32
    assert found.tolist() == expected


def test_a_key_below_0_is_refused_as_by_numpy() -> None:
    with pytest.raises(ValueError, match="-1: expected 0 or more"):
        first_words([0, -1], np.array([5]))


@pytest.mark.parametrize("large", [2**32, 2**62])
def test_ids_of_more_than_one_word_are_drawn_as_numpy_does(large: int) -> None:
    expected = [np.random.SeedSequence([1, 2, one]).generate_state(1)[0] for one in (7, large)]
    assert first_words([1, 2], np.array([7, large])).tolist() == expected
