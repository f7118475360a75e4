"""The records of the dtypes, beside those of the oracle and of NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from normgauge.adapters.dtypes import DTYPES, FULL, KNOWN_DTYPES, Dtype
from normgauge.conformance.requirements.magnitudes import MAGNITUDES
from normgauge.oracle.formats import FORMATS, Format, rounded

ALL = pytest.mark.parametrize("dtype", KNOWN_DTYPES.values(), ids=KNOWN_DTYPES)


def test_the_suite_and_the_oracle_know_the_same_dtypes() -> None:
    fields = ("name", "digits", "least_exponent", "greatest_exponent")
    told = {name: Format(**{field: getattr(one, field) for field in fields}) for name, one in KNOWN_DTYPES.items()}
    assert told == FORMATS
    assert {one.name for one in KNOWN_DTYPES.values() if one.half} == {f.name for f in FORMATS.values() if f.is_half}
    assert (DTYPES[0], set(FULL)) == ("float32", {"float32", "float64"})


@ALL
def test_the_carrier_holds_every_value_of_the_dtype(dtype: Dtype) -> None:
    form = FORMATS[dtype.name]
    for value in (form.largest, form.smallest_normal, dtype.smallest_subnormal, 1 + 2 * form.u, -np.inf):
        assert rounded(value, dtype.name) == np.dtype(dtype.carrier).type(value) == value
    assert dtype.smallest_subnormal == form.smallest_subnormal


@ALL
def test_a_printed_number_is_read_as_the_same_one_and_a_digit_less_is_too_few(dtype: Dtype) -> None:
    values = rounded(np.random.default_rng(0).standard_normal(20_000) * 1000, dtype.name)
    fewer = f".{int(dtype.printed[1:-1]) - 1}g"

    def read(style: str) -> bool:
        return np.array_equal(rounded([float(format(value, style)) for value in values], dtype.name), values)

    assert read(dtype.printed)
    assert not read(fewer)


@ALL
def test_every_dtype_has_its_magnitudes_and_holds_them(dtype: Dtype) -> None:
    own = MAGNITUDES[dtype.name]
    exact = [own.usual_eps, *own.large_constants, 2.0 ** (own.large + 2 - 1), 2.0**own.subnormal]
    assert np.array_equal(rounded(exact, dtype.name), exact)
    assert 2.0**own.subnormal < 2.0**dtype.least_exponent
    assert set(own.resolution) == ({"eps", "momentum"} if dtype.name in FULL else set())
