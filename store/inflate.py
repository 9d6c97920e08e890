"""Inflating what was compressed, to no more than it may be."""

import zlib


def inflate(data, most):
    """What `data` holds, at most `most` bytes.

    Raises    zlib.error   it is damaged, or holds more
    """
    inflater = zlib.decompressobj()
    inflated = inflater.decompress(data, most + 1)
    if len(inflated) > most or not inflater.eof:
        raise zlib.error(f"found more than {most} bytes, or an end that is missing")
    return inflated
