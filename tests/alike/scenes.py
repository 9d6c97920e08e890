"""What is called on both sides (playing.py says how a line is read).

Most entries here have explicit ids whose second part is the event's number, so that both sides store the same.
"""

from typing import NamedTuple


class Scene(NamedTuple):
    title: str
    text: str
    alone: bool = False


SCENES = [
    Scene("what a server says of itself", """
        PING
        PING hello
        PING a b
        ECHO hello
        ECHO
        SELECT 0
        SELECT 99
        CLIENT GETNAME
        CLIENT SETNAME me
        CLIENT GETNAME
        CLIENT SETNAME "with space"
        CLIENT NO-EVICT on
        CLIENT REPLY ON
        CLIENT GETREDIR
        CLIENT UNBLOCK 99999999
        CLIENT UNBLOCK x            # words
        CLIENT NONSENSE
        CLIENT
        CONFIG GET nothing-like-this
        COMMAND INFO nothing-like-this
        NONSENSE
        NONSENSE a b c
        RESET
        PING
    """),
    Scene("HELLO that is mistyped", """
        HELLO 1
        HELLO 4
        HELLO 3 SETNAME "with space"
        CLIENT GETNAME
    """),
]
