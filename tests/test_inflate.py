"""store/inflate.py: what was compressed, bounded."""

import zlib

import pytest

from store.inflate import inflate


@pytest.mark.parametrize("size", [0, 1, 1000])
def test_what_fits_comes_back_as_it_was(size):
    assert inflate(zlib.compress(b"x" * size), 1000) == b"x" * size


def test_what_does_not_fit_is_refused_without_being_inflated():
    bomb = zlib.compress(bytes(100 << 20))
    with pytest.raises(zlib.error, match="more than 1000 bytes"):
        inflate(bomb, 1000)


@pytest.mark.parametrize("data", [b"", b"nonsense", zlib.compress(b"cut short")[:-1]])
def test_what_is_damaged_is_refused(data):
    with pytest.raises(zlib.error):
        inflate(data, 1000)
