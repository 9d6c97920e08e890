"""Where the replies differ, and why: scenes.py says behind a call which of these makes its replies differ."""

from typing import NamedTuple


class Difference(NamedTuple):
    """title   of what differs, as a heading of the documentation
    why        it does, and what to do about it
    same_code  both replies are errors, with the same first word
    """

    title: str
    why: str
    same_code: bool = False


DIFFERENCES = {
    "numbers": Difference(
        "an id's sequence is the event's number",
        "So an id names its event without a look-up, here and in every other command. `*` and `ms-*` give the next "
        "number; whoever gives ids himself counts up by one. A stream that is new may begin with any."),
    "late": Difference(
        "ids ahead of the clock",
        "An id's milliseconds are the event's time, which isn't more than a minute ahead of the server's."),
    "lax": Difference(
        "what Redis overlooks",
        "Words too many, no id at all, or a count below zero are errors here; Redis takes no notice of them."),
    "digits": Difference(
        "blanks and signs before an id", "Redis takes them, being lax; an id here is digits."),
    "names": Difference(
        "a first field that can't be an event's name",
        "The first field is the event's name, which is UTF-8 without CR, LF and NUL, and not empty. Other fields, "
        "and all values, are any bytes."),
    "empty-key": Difference(
        "the empty key", "A stream's name has at least one byte."),
    "empty": Difference(
        "streams that never had an event",
        "What MKSTREAM makes is there as long as a group is on it."),
    "ahead": Difference(
        "groups ahead of their stream",
        "A group that is set to an id which is yet to come gets the next event, whatever its id will be."),
    "reopened": Difference(
        "numbers after DEL",
        "A stream that was deleted goes on with the number after its last one, so that no number ever names two "
        "events. `*` works as before."),
    "lag": Difference(
        "a group's lag",
        "It is known always, and counts what is there: neither what was deleted nor what was trimmed. Redis says null, "
        "or guesses, once entries were deleted or the group was set to an id in the middle."),
    "inactive": Difference(
        "XINFO CONSUMERS says more", "`inactive` came with Redis 7.2, and is told here as well."),
    "deleted": Difference(
        "ids of what is gone",
        "Numbers go on for ever, but the time of a stream's last event is known only while that event is there. So a "
        "stream that was emptied says `0` for it, and takes an explicit id that is earlier. The highest id that was "
        "deleted is known as long as it is among the stream's events."),
    "values": Difference(
        "values that aren't streams",
        "There are streams alone: keys hold no strings, lists, hashes or sets."),
    "for-ever": Difference(
        "keys that expire", "Events are kept until they are deleted by name."),
    "gaps": Difference(
        "XSETID", "No number is given up behind an event, so a stream's next id can't be set further on."),
    "refused": Difference(
        "keys that are renamed, copied or moved", "A stream keeps its name; its events can be appended to another."),
    "none-of-it": Difference(
        "a transaction of which one command can't be done",
        "A transaction is stored by one append, all of it or nothing. So `EXEC` answers that command's error, where "
        "Redis does the others."),
    "only-adds": Difference(
        "MULTI takes commands that store", "And `PING` and `ECHO`. What reads is refused inside a transaction."),
    "watch": Difference(
        "WATCH", "Say what a stream is expected to be with `append`, which stores only if it is so."),
    "shards": Difference(
        "SSUBSCRIBE", "There are no shards."),
    "words": Difference(
        "an error's words", "The error's first word is the same, and the others say more.", same_code=True),
    "help": Difference(
        "HELP", "It tells of what is here."),
}
