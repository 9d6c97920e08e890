"""What a stream and an event may be called."""

ALL = b"$all"

# Names travel in simple strings, which must fit a line of any RESP parser.
MAX_NAME = 32 * 1024


def check_stream(name):
    """Raise ValueError unless `name` (bytes) may name a stream."""
    _check("stream name", name)
    if b":" in name:
        raise ValueError(f"a stream name has no ':', found {_show(name)}")
    if name == ALL:
        raise ValueError("$all is every stream, and can't be appended to")


def check_name(name):
    """Raise ValueError unless `name` (bytes) may name an event."""
    _check("event name", name)


def _check(what, name):
    if not name:
        raise ValueError(f"{what} is empty")
    if len(name) > MAX_NAME:
        raise ValueError(f"{what} of {len(name)} bytes, expected no more than {MAX_NAME}")
    if b"\r" in name or b"\n" in name or b"\0" in name:
        raise ValueError(f"{what} has no CR, LF or NUL, found {_show(name)}")
    try:
        name.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{what} is UTF-8, found {_show(name)}") from None


def _show(name):
    """A name for a message, at a message's length."""
    return repr(name[:60])[1:] + ("..." if len(name) > 60 else "")
