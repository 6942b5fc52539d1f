"""Every tolerance of conformance, with its reason. Nothing else in the repository types one.

An implementation passes a block when its error is at most `K * max(yardstick, FLOOR * u)`, by the
block's norm and by its largest entry, where the yardstick is what the oracle suffers itself when
it runs in that precision with random rounding (see `yardstick`) and u is the unit roundoff.
"""

from __future__ import annotations

from typing import NamedTuple


class Format(NamedTuple):
    """A floating-point format, and what is allowed in it."""

    digits: int  # binary, the hidden one included
    k: float  # multiple of the yardstick that is allowed
    floor: float  # in unit roundoffs: no yardstick is smaller
    samples: int  # randomly rounded runs that a yardstick is the largest error of
    library: float  # in unit roundoffs: how far off exp and tanh of good libraries are

    @property
    def roundoff(self) -> float:
        """u, the largest relative error of rounding to nearest."""
        return 2.0**-self.digits


# K is FlashAttention's rule (Dao et al. 2022): at most twice the error of the plain version in the
# same precision.
#
# The floors take up that a yardstick is the largest of a few random samples, so that a block of
# one or two numbers can be lucky.
#
# The libraries below the frameworks do not round exp and tanh correctly. Measured on 400,000
# numbers, in units in the last place (a unit is 1 to 2 u), largest and root mean square: float32
# tanh 4.6 and 0.8 (TensorFlow), 4.0 and 0.8 (XLA), sigmoid 5.8 and 1.1 (TensorFlow); float64 tanh
# 8.9 and 1.3 (TensorFlow), 6.9 and 1.4 (XLA); the others below 3.3. Uniform within +-3 u has about
# that root mean square. In 16 bits they are computed in float32 and then rounded.
FORMATS: dict[str, Format] = {
    "float64": Format(digits=53, k=2.0, floor=8.0, samples=8, library=3.0),
    "float32": Format(digits=24, k=2.0, floor=8.0, samples=4, library=3.0),
    "float16": Format(digits=11, k=2.0, floor=4.0, samples=4, library=0.0),
    "bfloat16": Format(digits=8, k=2.0, floor=3.0, samples=4, library=0.0),
}

# The largest error of ten runs is a lottery itself: of right answers, one block in 500 is off by
# more than K times as much, whatever its size (974 random cases, four honest answers each). So a
# disagreement that is not larger than DOUBT is judged again by more and more runs, and stands only
# when it outlives the last: were errors normal, of one right block in a million.
DOUBT = 32.0
SAMPLES_IN_DOUBT = (16, 100)  # of each witness

# What implementations of this project promise in float64 for the case matrix, whatever the
# yardstick says: the norm of each block's error over the norm of the block. Nobody can for every
# problem: on random ones with large weights or linear candidates, the float64 oracle is off by up
# to 6e-12.
OURS_FLOAT64 = 1e-13

# A sequence this long times this wide would take the 80-bit oracle seconds: the truth of a
# float64 case is then the float64 oracle, whose own error is below 5e-15 (reference/), and the
# floor above covers it.
LONGDOUBLE_PRODUCTS = 2e7

# A wrong result "resembles" a seeded bug when it lies this much closer to the bug's result than
# to the truth: a fifth, so that a bug is named only where it explains 80 % of the difference.
RESEMBLANCE = 0.2


def format_of(dtype: str) -> Format:
    """What is allowed in a dtype.

    Raises
    ------
    ValueError
        For a dtype that no case can have.

    Examples
    --------
    >>> format_of("float32").roundoff == 2.0**-24
    True
    """
    if dtype not in FORMATS:
        raise ValueError(
            f"dtype is {dtype!r}, expected one of {', '.join(FORMATS)}. "
            "Choose the dtype that the implementation computes in."
        )
    return FORMATS[dtype]
