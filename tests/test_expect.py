"""store/expect.py: which streams are as an append expects them."""

import pytest

from store.expect import ANY, EXISTS, MAX_EXPECTED, NONE, check_expected, is_met


@pytest.mark.parametrize("expected, met", [
    (ANY, [0, 1, 2, 1 << 64]), (NONE, [0]), (EXISTS, [1, 2, 1 << 64]), (0, [1]), (1, [2]), (MAX_EXPECTED, [1 << 64])])
def test_a_stream_is_as_expected_or_it_is_not(expected, met):
    check_expected(expected)
    assert [following for following in (0, 1, 2, 1 << 64) if is_met(expected, following)] == met


@pytest.mark.parametrize("expected", [-1, MAX_EXPECTED + 1, True, None, 1.0, "ANY", "none ", b"any", [], "x" * 1000])
def test_what_is_none_of_them_is_refused_in_few_words(expected):
    with pytest.raises(ValueError, match="^expected is .*, expected 'any', 'none', 'exists' or the number") as caught:
        check_expected(expected)
    assert len(str(caught.value)) < 250
