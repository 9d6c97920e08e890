"""What clients send, and where they are, made fit for a log line."""

_LONGEST = 200


def printable(text):
    """`text` (str or bytes) on one line, without control characters, and not too long."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:_LONGEST])
    return shown + ("..." if len(text) > _LONGEST else "")


def shown_address(address):
    """A socket's address as people write it."""
    if not isinstance(address, tuple):
        return "unix"
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
