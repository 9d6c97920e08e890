"""store/arrays.py: numbers as bytes that are the same on any machine."""

import sys
from array import array

import pytest

from store.arrays import packed, unpacked


@pytest.mark.parametrize("typecode, values, data", [
    ("I", [1, 0xFFFFFFFE], b"\1\0\0\0\xfe\xff\xff\xff"), ("q", [-2], b"\xfe" + b"\xff" * 7), ("Q", [], b"")])
def test_numbers_are_little_endian(typecode, values, data):
    assert packed(array(typecode, values)) == data
    assert unpacked(typecode, data) == array(typecode, values)


def test_another_byte_order_is_swapped_and_leaves_the_array_as_it_was(monkeypatch):
    monkeypatch.setattr(sys, "byteorder", "big" if sys.byteorder == "little" else "little")
    values = array("I", [1, 2])
    data = packed(values)
    assert values.tolist() == [1, 2]
    assert data == values.tobytes()[:4][::-1] + values.tobytes()[4:][::-1]
    assert unpacked("I", data) == values
