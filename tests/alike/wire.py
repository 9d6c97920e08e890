"""Replies as they stand on the wire: every type by its first byte, nothing made the same.

    +OK            ("+", b"OK")                 *-1, $-1, _    ("*", None)  ("$", None)  ("_", None)
    :3             (":", 3)                     *2 ~2 >2       ("*", [reply, reply]) ...
    $3 one         ("$", b"one")                %1             ("%", [(key, value)])
    -ERR why       ("-", b"ERR why")            ,1.5 #t =8     (",", b"1.5")  ("#", b"t")  ("=", b"txt:text")
"""

from typing import Any, NamedTuple


class Reply(NamedTuple):
    kind: str
    value: Any


class Wire:
    """One side's connection.

    say(*words)     send a command, of bytes
    reply()         the next Reply that comes
    """

    def __init__(self, sock):
        self._sock = sock
        self._file = sock.makefile("rb")

    def say(self, *words):
        parts = [b"*%d\r\n" % len(words)]
        parts += [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
        self._sock.sendall(b"".join(parts))

    def ask(self, *words):
        self.say(*words)
        return self.reply()

    def reply(self):
        line = self._file.readline()
        assert line.endswith(b"\r\n"), f"the connection ended behind {line!r}"
        kind, rest = line[:1].decode(), line[1:-2]
        if kind == ":":
            return Reply(kind, int(rest))
        if kind in "+-_,#(":
            return Reply(kind, rest or None)
        count = int(rest)
        if count < 0:
            return Reply(kind, None)
        if kind in "$=!":
            return Reply(kind, self._file.read(count + 2)[:-2])
        assert kind in "*~>%", f"found {line!r}, expected a reply"
        if kind == "%":
            return Reply(kind, [(self.reply(), self.reply()) for _ in range(count)])
        return Reply(kind, [self.reply() for _ in range(count)])

    def close(self):
        self._file.close()
        self._sock.close()


def changed(reply, change):
    """`reply` with `change` made to each Reply in it, from the innermost outwards."""
    kind, value = reply
    if isinstance(value, list):
        if kind == "%":
            value = [(changed(key, change), changed(one, change)) for key, one in value]
        else:
            value = [changed(one, change) for one in value]
    return change(Reply(kind, value))


def shown(reply):
    """A reply as one line for people: [1-1 [name data]], {length: 3}, (nil), OK, "text", 3."""
    kind, value = reply
    if value is None:
        return "(nil)"
    if kind == "%":
        return "{" + ", ".join(f"{shown(key)}: {shown(one)}" for key, one in value) + "}"
    if isinstance(value, list):
        return ("push " if kind == ">" else "") + "[" + " ".join(map(shown, value)) + "]"
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    return text if kind in "+-:" or text and not text.strip().count(" ") else f'"{text}"'
