"""Random words of many locations at once, the same as NumPy draws for each: a `SeedSequence` costs more Python than reading a chunk.

The hash is that of `numpy.random.SeedSequence` (M. E. O'Neill, "Developing a seed_seq alternative", 2015), which NumPy keeps
the same for good (NEP 19).
"""

from collections.abc import Sequence

import numpy as np

_POOL_WORDS = 4
_INIT_POOL, _STEP_POOL = 0x43B0D7E5, 0x931E8875
_INIT_STATE, _STEP_STATE = 0x8B51F9DD, 0x58F38DED
_MIX_LEFT, _MIX_RIGHT = np.uint32(0xCA01F9DD), np.uint32(0x4973F715)
_HALF = np.uint32(16)
_WORD = 2**32


def first_words(key: Sequence[int], ids: np.ndarray) -> np.ndarray:
    """First word that a `SeedSequence` of the key and an id gives, for each id.

    Parameters
    ----------
    key
        What all have in common, e.g. seed and epoch; each at least 0.
    ids
        (location,) at least 0.

    Returns
    -------
    (location,) uint32: `SeedSequence([*key, id]).generate_state(1)[0]`.
    """
    if len(ids) and int(ids.max()) >= _WORD:
        return np.array(
            [np.random.SeedSequence([*key, int(one)]).generate_state(1)[0] for one in ids], np.uint32
        )
    entropy = [np.full(len(ids), word, np.uint32) for number in key for word in _words_of(number)]
    entropy.append(ids.astype(np.uint32))
    entropy += [np.zeros(len(ids), np.uint32)] * (_POOL_WORDS - len(entropy))
    hashed = _Hash(_INIT_POOL, _STEP_POOL)
    pool = [hashed(words) for words in entropy[:_POOL_WORDS]]
    for source in range(_POOL_WORDS):
        for target in range(_POOL_WORDS):
            if source != target:
                pool[target] = _mixed(pool[target], hashed(pool[source]))
    for words in entropy[_POOL_WORDS:]:
        for target in range(_POOL_WORDS):
            pool[target] = _mixed(pool[target], hashed(words))
    return _Hash(_INIT_STATE, _STEP_STATE)(pool[0])


class _Hash:
    """A hash of words, another one with each call."""

    def __init__(self, start: int, step: int) -> None:
        self._constant, self._step = start, step

    def __call__(self, words: np.ndarray) -> np.ndarray:
        mixed = words ^ np.uint32(self._constant)
        self._constant = self._constant * self._step % _WORD
        return _folded(mixed * np.uint32(self._constant))


def _mixed(target: np.ndarray, source: np.ndarray) -> np.ndarray:
    return _folded(_MIX_LEFT * target - _MIX_RIGHT * source)


def _folded(words: np.ndarray) -> np.ndarray:
    folded: np.ndarray = words ^ (words >> _HALF)
    return folded


def _words_of(number: int) -> list[int]:
    """Words of a number, the lowest first; of 0, one."""
    if number < 0:
        raise ValueError(f"{number}: expected 0 or more")
    words = [number % _WORD]
    while number := number // _WORD:
        words.append(number % _WORD)
    return words
