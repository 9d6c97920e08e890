"""Arrays of numbers as bytes, little-endian on any machine, and back."""

import sys
from array import array


def packed(values):
    """The bytes of an array."""
    if sys.byteorder == "big":
        values = array(values.typecode, values)
        values.byteswap()
    return values.tobytes()


def unpacked(typecode, data):
    """The array whose bytes these are."""
    values = array(typecode)
    values.frombytes(data)
    if sys.byteorder == "big":
        values.byteswap()
    return values
