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


_HIDDEN = b"(redacted)"


def redacted(arguments):
    """The arguments of a request, without the passwords that are in it: of AUTH, of HELLO, of rules for users."""
    word = bytes(arguments[0][:8]).upper()
    if word == b"AUTH":
        return [arguments[0], *[_HIDDEN] * (len(arguments) - 1)]
    if word == b"HELLO":
        return _without_login(arguments)
    if word == b"ACL":
        return [_HIDDEN if i > 2 and bytes(one[:1]) in b"><#!" else one for i, one in enumerate(arguments)]
    return arguments


def _without_login(arguments):
    shown = list(arguments)
    for i, one in enumerate(arguments):
        if one.upper() == b"AUTH":
            shown[i + 1:i + 3] = [_HIDDEN] * len(shown[i + 1:i + 3])
    return shown
