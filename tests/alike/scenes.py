"""What is called on both sides (playing.py says how a line is read).

Most entries here have explicit ids whose second part is the event's number, so that both sides store the same.
"""

from typing import NamedTuple


class Scene(NamedTuple):
    title: str
    text: str
    alone: bool = False


THREE = """
    XADD orders 1-0 created one
    XADD orders 2-1 paid two
    XADD orders 3-2 shipped three
"""
GROUP = THREE + """
    XGROUP CREATE orders g 0
"""
PENDING = GROUP + """
    XREADGROUP GROUP g ann COUNT 2 STREAMS orders >
    XREADGROUP GROUP g bob STREAMS orders >
"""

SCENES = [
    # -- XADD -------------------------------------------------------------------------
    Scene("an entry has the id that it was given, or one of its time", THREE + """
        four = XADD orders * a b
        XRANGE orders {four} {four}
        XRANGE orders - +
        XLEN orders
        five = XADD orders * a b c d e f
        XRANGE orders ({four} +
        XREVRANGE orders + -
        TYPE orders
        EXISTS orders
    """),
    Scene("an id is above the stream's last one", """
        XADD orders 5-0 a b
        XADD orders 5-0 a b
        XADD orders 4-1 a b
        XADD orders 4-9 a b
        XADD orders 0-1 a b
        XADD orders 5-1 a b
        XADD orders 5 a b
        XADD orders 5-* a b
        XADD orders 4-* a b
        XRANGE orders - +
    """),
    Scene("an entry's sequence is the event's number", """
        XADD orders 5-7 a b
        XADD orders 6-8 a b
        XADD orders 7-8 a b         # numbers
        XRANGE orders - 6-8
    """),
    Scene("a sequence that begins anew", """
        XADD orders 5-0 a b
        XADD orders 6-0 a b         # numbers
    """),
    Scene("an id of milliseconds alone", """
        XADD orders 5 a b
        XADD orders 6 a b           # numbers
    """),
    Scene("milliseconds of which the sequence is asked for", """
        XADD orders 5-* a b
        XADD orders 6-* a b         # numbers
    """),
    Scene("a stream may begin anywhere", """
        XADD orders 0-1 a b
        XADD orders 0-* a b
        XRANGE orders - +
        XADD bills 100-200 a b
        XADD bills 101-201 a b
        XRANGE bills - +
        XREVRANGE bills + - COUNT 1
    """),
    Scene("the id of nothing is refused", """
        XADD orders 0-0 a b
        XADD orders 0 a b
        XADD orders 1-0 a b
        XADD orders 0-0 a b
        EXISTS orders
    """),
    Scene("the highest milliseconds", """
        XADD orders 18446744073709551615-18446744073709551615 a b      # late
        XADD orders 18446744073709551616-1 a b
        XADD orders 1-18446744073709551616 a b
    """),
    Scene("ids that are none", """
        XADD orders nonsense a b
        XADD orders 1-x a b
        XADD orders x-1 a b
        XADD orders 1- a b
        XADD orders -1 a b
        XADD orders -1-1 a b
        XADD orders 1.5 a b
        XADD orders "" a b
        XADD orders 1-1-1 a b
        XADD orders (1-1 a b
        XADD orders - a b
        XADD orders + a b
        XADD orders $ a b
        XADD orders > a b
        XADD orders *-* a b
        XADD orders *-1 a b
        XADD orders 1_0-1 a b
        XADD orders 0x10-1 a b
        XADD orders 1-0\\x00 a b
        EXISTS orders
    """),
    Scene("ids with a sign or a blank before them", """
        XADD orders +1-1 a b            # digits
        XADD bills " 1-1" a b           # digits
        XRANGE absent +1 +              # digits
    """),
    Scene("XADD that is mistyped", """
        XADD
        XADD orders
        XADD orders *
        XADD orders * a
        XADD orders * a b c
        XADD orders 1-0 a b c
        XADD orders NOMKSTREAM
        XADD orders NOMKSTREAM * a
        XADD orders MAXLEN
        XADD orders MAXLEN 5
        XADD orders MAXLEN x * a b
        XADD orders MAXLEN -1 * a b
        XADD orders MAXLEN = -1 * a b
        XADD orders MAXLEN 1.5 * a b
        XADD orders MAXLEN ~ * a b
        XADD orders MAXLEN ~ ~ 5 * a b
        XADD orders MAXLEN = 10 LIMIT 5 * a b
        XADD orders MAXLEN 10 LIMIT 5 * a b
        XADD orders MAXLEN ~ 10 LIMIT -1 * a b
        XADD orders MAXLEN ~ 10 LIMIT x * a b
        XADD orders LIMIT 5 * a b
        XADD orders MINID x * a b
        XADD orders MINID - * a b
        XADD orders MAXLEN 5 MINID 1 * a b
        XADD orders MAXLEN 5 MAXLEN 5 * a b
        XADD orders MINID ~ 5-1-1 * a b
        XADD orders nomkstream maxlen 5 x a b
        EXISTS orders
    """),
    Scene("XADD where there is no stream", """
        XADD absent NOMKSTREAM 1-0 a b
        XADD absent NOMKSTREAM * a b
        EXISTS absent
        XADD orders 1-0 a b
        XADD orders NOMKSTREAM 2-1 a b
        XADD orders nomkstream maxlen 10 3-2 a b
        XLEN orders
    """),
    Scene("XADD that trims", """
        XADD orders MAXLEN 2 1-0 a b
        XADD orders MAXLEN 2 2-1 a b
        XADD orders MAXLEN 2 3-2 a b
        XRANGE orders - +
        XADD orders MAXLEN = 2 4-3 a b
        XRANGE orders - +
        XADD orders MAXLEN ~ 2 5-4 a b
        XADD orders MAXLEN ~ 2 LIMIT 0 6-5 a b
        XADD orders MAXLEN ~ 2 LIMIT 100 7-6 a b
        XRANGE orders - +
        XADD orders minid 6 8-7 a b
        XRANGE orders - +
        XADD orders MINID = 7-6 9-8 a b
        XRANGE orders - +
        XADD orders MINID ~ 9-8 10-9 a b
        XRANGE orders - +
        XADD orders maxlen 0 11-10 a b
        XLEN orders
        XRANGE orders - +
        EXISTS orders
        XADD orders MAXLEN 9223372036854775807 12-11 a b
        XRANGE orders - +
        XADD orders NOMKSTREAM MAXLEN 1 13-12 a b
        XADD orders MAXLEN 1 NOMKSTREAM 14-13 a b
        XRANGE orders - +
    """),
    Scene("entries of several fields, and of odd ones", """
        XADD orders 1-0 a 1 b 2 c 3
        XADD orders 2-1 a 1 a 2 a 1
        XADD orders 3-2 a "" b ""
        XADD orders 4-3 a "\\x00\\xff\\r\\n" b "\\xfe"
        XADD orders 5-4 "with space" "and more"
        XADD orders 6-5 fields: x metadata y
        XADD orders 7-6 grün weiß
        XADD orders 8-7 a 1 "\\x00" 2 "" 3 "\\xff\\r\\n" 4
        XRANGE orders - +
    """),
    Scene("a first field that isn't an event's name", """
        XADD orders 1-0 "" x                # names
        XADD bills 1-0 "\\xff" x             # names
        XADD absent 1-0 "a\\r\\nb" x         # names
    """),

    # -- keys ---------------------------------------------------------------------------
    Scene("keys of any bytes", """
        XADD a:b 1-0 n one
        XADD a%3Ab 1-0 n two
        XADD a%b 1-0 n three
        XADD "with space" 1-0 n four
        XADD "\\x00\\xff\\r\\n" 1-0 n five
        XADD $all 1-0 n six
        XADD % 1-0 n seven
        XADD %% 1-0 n eight
        XADD grün 1-0 n nine
        XRANGE a:b - +
        XRANGE a%3Ab - +
        XRANGE a%b - +
        XRANGE "with space" - +
        XRANGE "\\x00\\xff\\r\\n" - +
        XRANGE $all - +
        XRANGE % - +
        XRANGE %% - +
        XREAD STREAMS a:b "\\x00\\xff\\r\\n" grün 0 0 0
        sorted KEYS *
        sorted KEYS a*
        sorted KEYS a:*
        sorted KEYS *\\x00*
        DBSIZE
        EXISTS a:b a%3Ab a%3ab a%253Ab nope
        DEL a:b
        EXISTS a:b a%3Ab
    """, alone=True),
    Scene("the empty key", """
        XADD "" 1-0 a b             # empty-key
        XLEN ""                     # empty-key
    """),

    # -- XLEN, XDEL, XTRIM, XSETID, DEL ------------------------------------------------
    Scene("XLEN", """
        XLEN
        XLEN absent
        XLEN absent absent
        XADD orders 1-0 a b
        xlen orders
    """),
    Scene("XDEL", THREE + """
        XDEL
        XDEL orders
        XDEL absent 1-0
        XDEL absent nonsense
        XDEL orders 2-1
        XDEL orders 2-1
        XDEL orders 9-9 1-9 2-0
        XDEL orders 1 3-2 3-2
        XLEN orders
        XRANGE orders - +
        EXISTS orders
        TYPE orders
        XADD orders 3-2 a b
        XADD orders 4-3 a b
        XRANGE orders - +
        XDEL orders x
        XDEL orders 4-3 x
        XDEL orders -
        XDEL orders 4-*
        XLEN orders
    """),
    Scene("XTRIM", """
        XADD orders 1-0 a b
        XADD orders 2-1 a b
        XADD orders 3-2 a b
        XADD orders 4-3 a b
        XADD orders 5-4 a b
        XADD orders 6-5 a b
        XTRIM absent MAXLEN 1
        XTRIM orders MAXLEN 10
        XTRIM orders MAXLEN 5
        XTRIM orders MAXLEN = 4
        XRANGE orders - +
        XTRIM orders MINID 4
        XTRIM orders MINID = 5-4
        XRANGE orders - +
        XTRIM orders MAXLEN ~ 1
        XTRIM orders MINID ~ 6-5 LIMIT 10
        XTRIM orders MINID 0
        XDEL orders 5-4
        XTRIM orders MAXLEN 1
        XTRIM orders minid 100
        XLEN orders
        EXISTS orders
    """),
    Scene("ids go on behind entries that are gone", """
        XADD orders 5-0 a b
        XTRIM orders MAXLEN 0
        XADD orders 5-0 a b
        XADD orders 6-1 a b
        XDEL orders 6-1
        XADD orders 6-1 a b
        XADD orders 7-2 a b
        XRANGE orders - +
        XREAD STREAMS orders 5-0
    """),
    Scene("ids whose time is before that of entries that are gone", """
        XADD orders 5-0 a b
        XTRIM orders MAXLEN 0
        XADD orders 4-1 a b         # deleted
    """),
    Scene("XTRIM of a stream with holes", """
        XADD orders 1-0 a b
        XADD orders 2-1 a b
        XADD orders 3-2 a b
        XADD orders 4-3 a b
        XADD orders 5-4 a b
        XDEL orders 2-1 4-3
        XTRIM orders MAXLEN 2
        XRANGE orders - +
        XDEL orders 3-2
        XTRIM orders MINID 5
        XRANGE orders - +
        XTRIM orders MAXLEN 0
        XLEN orders
    """),
    Scene("XTRIM that is mistyped", """
        XADD orders 1-0 a b
        XTRIM
        XTRIM orders
        XTRIM orders MAXLEN
        XTRIM orders NONSENSE 5
        XTRIM orders MAXLEN x
        XTRIM orders MAXLEN -1
        XTRIM orders MAXLEN =
        XTRIM orders MINID x
        XTRIM orders MINID (1
        XTRIM orders MINID -
        XTRIM orders MAXLEN 5 LIMIT 5
        XTRIM orders MAXLEN = 5 LIMIT 5
        XTRIM orders MAXLEN ~ 5 LIMIT -1
        XTRIM orders MAXLEN ~ 5 LIMIT
        XTRIM orders MAXLEN 5 MINID 5
        XTRIM orders MAXLEN 5 junk
        XTRIM orders NOMKSTREAM MAXLEN 5
        XLEN orders
    """),
    Scene("XSETID", """
        XSETID absent 5-5
        XSETID
        XSETID absent
        XADD orders 1-0 a b
        XADD orders 2-1 a b
        XSETID orders x
        XSETID orders 1-0
        XSETID orders 5-5 ENTRIESADDED x                            # words
        XSETID orders 5-5 ENTRIESADDED -1 MAXDELETEDID 0-0          # words
        XSETID orders 5-5 ENTRIESADDED 1 MAXDELETEDID 0-0           # words
        XSETID orders 5-5 ENTRIESADDED 9 MAXDELETEDID 9-9           # words
        XSETID orders 2-1
    """),
    Scene("XSETID that goes on elsewhere", """
        XADD orders 1-0 a b
        XSETID orders 5-5           # gaps
    """),
    Scene("DEL and UNLINK", THREE + """
        DEL
        UNLINK
        DEL absent
        DEL orders absent orders
        EXISTS orders
        TYPE orders
        XLEN orders
        XRANGE orders - +
        XINFO STREAM orders
        XADD bills 1-0 a b
        UNLINK bills absent
        EXISTS bills
    """),
    Scene("a stream that was deleted begins anew", THREE + """
        DEL orders
        XADD orders 1-0 a b             # reopened
    """),
    Scene("a stream that was deleted has no groups", GROUP + """
        XGROUP CREATE orders other $
        DEL orders
        XREADGROUP GROUP g ann STREAMS orders >
        four = XADD orders * a b
        XINFO GROUPS orders
    """),

    # -- XRANGE, XREVRANGE ---------------------------------------------------------------
    Scene("XRANGE", THREE + """
        XADD orders 3-3 d four
        XADD orders 3-4 e five
        XADD orders 9-5 f six
        XRANGE orders - +
        XRANGE orders 2 3
        XRANGE orders 2-1 3-3
        XRANGE orders 3 3
        XRANGE orders 3-3 3-3
        XRANGE orders (3-3 +
        XRANGE orders (3 +
        XRANGE orders - (3-3
        XRANGE orders - (3
        XRANGE orders (1-0 (9-5
        XRANGE orders 4 8
        XRANGE orders 3-9 9-0
        XRANGE orders 9 1
        XRANGE orders + -
        XRANGE orders - -
        XRANGE orders + +
        XRANGE orders 0 0
        XRANGE orders 0-0 18446744073709551615-18446744073709551615
        XRANGE orders 1-5 3-0
        XRANGE orders - + COUNT 2
        XRANGE orders - + count 100
        XRANGE orders - + COUNT 0
        XRANGE orders - + COUNT -1
        XRANGE orders (2-1 + COUNT 1
        XRANGE absent - +
        XRANGE absent - + COUNT 0
    """),
    Scene("XREVRANGE", THREE + """
        XADD orders 3-3 d four
        XADD orders 3-4 e five
        XADD orders 9-5 f six
        XREVRANGE orders + -
        XREVRANGE orders 3 2
        XREVRANGE orders 3-3 2-1
        XREVRANGE orders + (3-3
        XREVRANGE orders (9-5 (1-0
        XREVRANGE orders (3 -
        XREVRANGE orders 2 3
        XREVRANGE orders - +
        XREVRANGE orders + - COUNT 2
        XREVRANGE orders 3-2 - COUNT 1
        XREVRANGE orders + - COUNT 0
        XREVRANGE orders + - COUNT -1
        XREVRANGE absent + -
    """),
    Scene("XRANGE that is mistyped", THREE + """
        XRANGE
        XRANGE orders
        XRANGE orders -
        XRANGE orders x +
        XRANGE orders - x
        XRANGE orders 1-x +
        XRANGE orders 1- +
        XRANGE orders "" +
        XRANGE orders ( +
        XRANGE orders (- +
        XRANGE orders - (+
        XRANGE orders ((1 +
        XRANGE orders (18446744073709551615-18446744073709551615 +
        XRANGE orders - (0-0
        XRANGE orders 18446744073709551616 +
        XRANGE orders $ +
        XRANGE orders * +
        XRANGE orders 1-* +
        XRANGE orders - + COUNT
        XRANGE orders - + COUNT x
        XRANGE orders - + COUNT 1.5
        XRANGE orders - + COUNT 9223372036854775808
        XRANGE orders - + COUNT 2 COUNT 1
        XRANGE orders - + LIMIT 2
        XRANGE orders - + 2
        XREVRANGE
        XREVRANGE orders +
        XREVRANGE orders + - COUNT
        XREVRANGE orders x -
        XREVRANGE absent x -
    """),

    # -- XREAD ------------------------------------------------------------------------------
    Scene("XREAD", THREE + """
        XADD bills 1-0 a b
        XREAD STREAMS orders 0
        xread streams orders 0-0
        XREAD STREAMS orders 1-0
        XREAD STREAMS orders 1
        XREAD STREAMS orders 2-0
        XREAD STREAMS orders 3-2
        XREAD STREAMS orders 99
        XREAD STREAMS orders $
        XREAD STREAMS absent 0
        XREAD STREAMS absent $
        XREAD STREAMS orders bills 0 0
        XREAD STREAMS bills orders 0 1
        XREAD STREAMS orders bills absent 9 0 0
        XREAD STREAMS orders orders 0 2
        XREAD COUNT 1 STREAMS orders bills 0 0
        XREAD COUNT 2 STREAMS orders 0
        XREAD COUNT 0 STREAMS orders 0
        XREAD COUNT -5 STREAMS orders 0
        XREAD count 1 block 1 streams orders 0
        XREAD BLOCK 1 COUNT 1 STREAMS orders 0
        XREAD BLOCK 0 STREAMS orders 0
        XREAD BLOCK 1 STREAMS orders $
        XREAD BLOCK 1 STREAMS absent 0
        XREAD BLOCK 1 STREAMS orders bills 9 9
    """),
    Scene("XREAD that is mistyped", THREE + """
        XREAD
        XREAD STREAMS
        XREAD STREAMS orders
        XREAD STREAMS orders bills 0
        XREAD STREAMS orders 0 0
        XREAD orders 0
        XREAD COUNT STREAMS orders 0
        XREAD COUNT x STREAMS orders 0
        XREAD COUNT 1
        XREAD COUNT 1 STREAMS
        XREAD BLOCK x STREAMS orders 0
        XREAD BLOCK -1 STREAMS orders 0
        XREAD BLOCK 1.5 STREAMS orders 0
        XREAD BLOCK STREAMS orders 0
        XREAD NOACK STREAMS orders 0
        XREAD GROUP g ann STREAMS orders 0
        XREAD STREAMS orders x
        XREAD STREAMS orders >
        XREAD STREAMS orders -
        XREAD STREAMS orders +
        XREAD STREAMS orders *
        XREAD STREAMS orders (1
        XREAD STREAMS orders 1-*
        XREAD STREAMS orders ""
        XREAD NONSENSE STREAMS orders 0
        XREAD STREAMS orders bills 0 x
    """),
    Scene("XREAD waits", """
        2 waits XREAD BLOCK 0 STREAMS orders $
        XADD orders 1-0 a b
        2 gets
        2 waits XREAD BLOCK 0 STREAMS orders $
        XADD orders 2-1 c d e f
        2 gets
        2 waits XREAD COUNT 5 BLOCK 0 STREAMS orders bills $ $
        XADD bills 1-0 a b
        2 gets
        2 waits XREAD BLOCK 10000 STREAMS bills orders 1-0 2-1
        XADD orders 3-2 a b
        2 gets
        2 waits XREAD BLOCK 0 STREAMS absent 0
        XADD absent 5-0 a b
        2 gets
        2 waits XREAD BLOCK 0 STREAMS absent 5-5
        3 waits XREAD BLOCK 0 STREAMS absent $
        XADD absent 5-1 a b
        3 gets
        XADD absent 6-2 a b
        2 gets
    """),

    # -- XINFO STREAM -------------------------------------------------------------------------
    Scene("XINFO STREAM", """
        XINFO STREAM absent
        XINFO STREAM absent FULL
        XINFO STREAM absent FULL COUNT x
        XINFO STREAM absent NONSENSE
        XADD orders 1-0 created one
        XINFO STREAM orders
        XADD orders 2-1 paid two
        XADD orders 3-2 shipped three
        XGROUP CREATE orders g 0
        XINFO STREAM orders
        XDEL orders 2-1
        XINFO STREAM orders
        XDEL orders 1-0
        XTRIM orders MAXLEN 0
        XINFO STREAM orders                            # deleted
    """),
    Scene("XINFO STREAM FULL", PENDING + """
        XINFO STREAM orders FULL
        XINFO STREAM orders FULL COUNT 1
        XINFO STREAM orders full count 0
        XACK orders g 1-0
        XGROUP CREATE orders other $
        XINFO STREAM orders FULL
        XDEL orders 1-0
        XINFO STREAM orders FULL                       # deleted
    """),
    Scene("XINFO that is mistyped", """
        XADD orders 1-0 a b
        XINFO
        XINFO NONSENSE
        XINFO NONSENSE orders
        XINFO STREAM
        XINFO STREAM orders COUNT 1
        XINFO STREAM orders NONSENSE
        XINFO STREAM orders FULL COUNT
        XINFO STREAM orders FULL COUNT x
        XINFO STREAM orders FULL NONSENSE 1
        XINFO STREAM orders FULL COUNT 1 2
        XINFO sTREAm orders NONSENSE
        XINFO GROUPS
        XINFO GROUPS orders orders
        XINFO CONSUMERS orders
        XINFO HELP orders
        XINFO HELP                  # help
    """),

    # -- XGROUP -------------------------------------------------------------------------------
    Scene("XGROUP CREATE", THREE + """
        XGROUP CREATE orders g 0
        XGROUP CREATE orders g 0
        XGROUP CREATE orders g $
        XGROUP CREATE orders h $
        XGROUP CREATE orders i 2-1
        XGROUP CREATE orders j 2
        xgroup create orders k 99-99
        XGROUP CREATE orders l 0-0 ENTRIESREAD 2
        XGROUP CREATE orders m 3-2 ENTRIESREAD -1
        XGROUP CREATE orders n 1-0 entriesread 0
        XINFO GROUPS orders                            # lag
        XGROUP CREATE absent g $
        XGROUP CREATE absent g 0
        EXISTS absent
        XGROUP CREATE bills g $ MKSTREAM
        EXISTS bills
        TYPE bills
        XLEN bills
        XRANGE bills - +
        XRANGE bills - + COUNT 0
        XINFO GROUPS bills
        XINFO STREAM bills
        XGROUP CREATE bills g $ MKSTREAM
        XGROUP CREATE bills h 0 mkstream
        XREADGROUP GROUP g ann STREAMS bills >
        XADD bills 1-0 a b
        XREADGROUP GROUP g ann STREAMS bills >
        XREADGROUP GROUP h ann STREAMS bills >
    """),
    Scene("XGROUP that is mistyped", THREE + """
        XGROUP
        XGROUP NONSENSE
        XGROUP NONSENSE orders g
        XGROUP CREATE
        XGROUP CREATE orders g
        XGROUP CREATE orders g x
        XGROUP CREATE orders g -
        XGROUP CREATE orders g >
        XGROUP CREATE orders g *
        XGROUP CREATE orders g (1
        XGROUP CREATE orders g 0 NONSENSE
        XGROUP CREATE orders g 0 ENTRIESREAD
        XGROUP CREATE orders g 0 ENTRIESREAD x
        XGROUP CREATE orders g 0 ENTRIESREAD -2
        XGROUP CREATE absent g x
        XGROUP SETID orders g 0
        XGROUP SETID absent g 0
        XGROUP SETID orders
        XGROUP DESTROY orders
        XGROUP DESTROY absent g
        XGROUP CREATECONSUMER orders g ann
        XGROUP CREATECONSUMER absent g ann
        XGROUP CREATECONSUMER orders g
        XGROUP DELCONSUMER orders g ann
        XGROUP DELCONSUMER absent g ann
        XGROUP DELCONSUMER orders g
        XINFO GROUPS orders
        XGROUP HELP                 # help
    """),
    Scene("XGROUP SETID", PENDING + """
        XGROUP SETID orders g 1-0
        XINFO GROUPS orders
        XREADGROUP GROUP g ann STREAMS orders >
        XGROUP SETID orders g $
        XREADGROUP GROUP g ann STREAMS orders >
        XGROUP SETID orders g 0 ENTRIESREAD 1
        XINFO GROUPS orders
        XREADGROUP GROUP g bob COUNT 1 STREAMS orders >
        XPENDING orders g - + 10
        XGROUP SETID orders g x
        XGROUP SETID orders g 0 ENTRIESREAD x
        XGROUP SETID orders g 0 NONSENSE 1
        XGROUP SETID orders g 99
        XINFO GROUPS orders                            # lag
    """),
    Scene("a group that is ahead of its stream", GROUP + """
        XGROUP SETID orders g 5-5
        XADD orders 5-3 a b
        XREADGROUP GROUP g ann STREAMS orders >         # ahead
    """),
    Scene("XGROUP DESTROY", PENDING + """
        XGROUP DESTROY orders g
        XGROUP DESTROY orders g
        XGROUP DESTROY orders absent
        XINFO GROUPS orders
        XPENDING orders g
        XREADGROUP GROUP g ann STREAMS orders >
        XGROUP CREATE orders g 1-0
        XREADGROUP GROUP g ann STREAMS orders >
        XPENDING orders g
    """),
    Scene("a stream without events", """
        XGROUP CREATE orders g $ MKSTREAM
        EXISTS orders
        XGROUP DESTROY orders g
        EXISTS orders               # empty
        XLEN orders
    """),
    Scene("XGROUP DESTROY of a group that is waited for", THREE + """
        XGROUP CREATE orders g $
        2 waits XREADGROUP GROUP g ann BLOCK 0 STREAMS orders >
        XGROUP DESTROY orders g
        2 gets
    """),
    Scene("DEL of a stream whose group is waited for", THREE + """
        XGROUP CREATE orders g $
        2 waits XREADGROUP GROUP g ann BLOCK 0 STREAMS orders >
        DEL orders
        2 gets
    """),
    Scene("consumers are made and deleted", GROUP + """
        XGROUP CREATECONSUMER orders g ann
        XGROUP CREATECONSUMER orders g ann
        xgroup createconsumer orders g bob
        XGROUP CREATECONSUMER orders absent ann
        XINFO CONSUMERS orders g                       # inactive
        XREADGROUP GROUP g ann COUNT 2 STREAMS orders >
        XINFO CONSUMERS orders g                       # inactive
        XGROUP DELCONSUMER orders g ann
        XGROUP DELCONSUMER orders g ann
        XGROUP DELCONSUMER orders absent ann
        XINFO CONSUMERS orders g                       # inactive
        XPENDING orders g
        XREADGROUP GROUP g bob STREAMS orders >
        XINFO GROUPS orders
        XINFO CONSUMERS absent g
        XINFO CONSUMERS orders absent
        XINFO GROUPS absent
    """),

    # -- XREADGROUP, XACK ---------------------------------------------------------------------
    Scene("XREADGROUP", GROUP + """
        XREADGROUP GROUP g ann COUNT 1 STREAMS orders >
        xreadgroup group g bob count 1 streams orders >
        XREADGROUP GROUP g ann STREAMS orders >
        XREADGROUP GROUP g ann STREAMS orders >
        XREADGROUP GROUP g ann STREAMS orders 0
        XREADGROUP GROUP g ann COUNT 1 STREAMS orders 0
        XREADGROUP GROUP g ann STREAMS orders 1-0
        XREADGROUP GROUP g ann STREAMS orders 9
        XREADGROUP GROUP g bob STREAMS orders 0
        XREADGROUP GROUP g carl STREAMS orders 0
        XPENDING orders g - + 10
        XINFO GROUPS orders
        XINFO CONSUMERS orders g                       # inactive
        XACK orders g 1-0
        XREADGROUP GROUP g ann STREAMS orders 0
        XACK orders g 1-0
        XACK orders g 2-1 3-2 9-9
        XACK orders absent 1-0
        XACK absent g 1-0
        XPENDING orders g
        XINFO GROUPS orders
        XADD orders 4-3 d four
        XREADGROUP GROUP g ann COUNT 0 STREAMS orders >
        XREADGROUP GROUP g ann COUNT -1 STREAMS orders 0
    """),
    Scene("XREADGROUP of many streams", GROUP + """
        XADD bills 1-0 a b
        XREADGROUP GROUP g ann STREAMS orders bills > >
        XGROUP CREATE bills g 0
        XREADGROUP GROUP g ann COUNT 1 STREAMS orders bills > >
        XREADGROUP GROUP g ann COUNT 1 STREAMS orders bills > >
        XREADGROUP GROUP g ann STREAMS orders bills 0 >
        XREADGROUP GROUP g ann STREAMS orders bills > 0
        XREADGROUP GROUP g ann STREAMS orders bills 0 0
        XREADGROUP GROUP g ann STREAMS orders bills > >
        XREADGROUP GROUP g ann STREAMS bills orders 5 5
    """),
    Scene("XREADGROUP NOACK", GROUP + """
        XREADGROUP GROUP g ann NOACK COUNT 2 STREAMS orders >
        XPENDING orders g
        XREADGROUP GROUP g ann COUNT 2 NOACK STREAMS orders 0
        XREADGROUP GROUP g ann NOACK STREAMS orders >
        XINFO GROUPS orders
        XINFO CONSUMERS orders g                       # inactive
    """),
    Scene("XREADGROUP that is mistyped", GROUP + """
        XREADGROUP
        XREADGROUP GROUP g ann
        XREADGROUP GROUP g ann STREAMS orders
        XREADGROUP GROUP g STREAMS orders >
        XREADGROUP g ann STREAMS orders >
        XREADGROUP STREAMS orders >
        XREADGROUP COUNT 1 STREAMS orders > >
        XREADGROUP GROUP g ann STREAMS orders $
        XREADGROUP GROUP g ann STREAMS orders x
        XREADGROUP GROUP g ann STREAMS orders +
        XREADGROUP GROUP g ann COUNT x STREAMS orders >
        XREADGROUP GROUP g ann BLOCK x STREAMS orders >
        XREADGROUP GROUP g ann BLOCK -1 STREAMS orders >
        XREADGROUP GROUP g ann NONSENSE STREAMS orders >
        XREADGROUP GROUP g ann STREAMS absent >
        XREADGROUP GROUP absent ann STREAMS orders >
        XREADGROUP GROUP absent ann STREAMS orders 0
        XREADGROUP GROUP g ann STREAMS orders absent > >
        XREADGROUP GROUP g ann STREAMS orders bills >
        XINFO CONSUMERS orders g
    """),
    Scene("XREADGROUP waits", THREE + """
        XGROUP CREATE orders g $
        XREADGROUP GROUP g ann BLOCK 1 STREAMS orders >
        2 waits XREADGROUP GROUP g ann BLOCK 0 STREAMS orders >
        XADD orders 4-3 a b
        2 gets
        2 waits XREADGROUP GROUP g ann BLOCK 0 COUNT 1 STREAMS orders >
        3 waits XREADGROUP GROUP g bob BLOCK 10000 STREAMS orders >
        XADD orders 5-4 a b
        2 gets
        XADD orders 6-5 a b
        3 gets
        XREADGROUP GROUP g ann BLOCK 0 STREAMS orders 0
        XREADGROUP GROUP g carl BLOCK 0 STREAMS orders 0
        XGROUP CREATE bills g $ MKSTREAM
        2 waits XREADGROUP GROUP g ann BLOCK 0 NOACK STREAMS orders bills > >
        XADD bills 1-0 a b
        2 gets
        XPENDING bills g
        XPENDING orders g - + 10
    """),
    Scene("what was deleted stays pending", PENDING + """
        XDEL orders 1-0
        XREADGROUP GROUP g ann STREAMS orders 0
        XPENDING orders g
        XPENDING orders g - + 10
        XACK orders g 1-0
        XREADGROUP GROUP g ann STREAMS orders 0
        XTRIM orders MAXLEN 0
        XREADGROUP GROUP g bob STREAMS orders 0
        XPENDING orders g
        XINFO GROUPS orders
    """),
    Scene("XACK that is mistyped", PENDING + """
        XACK
        XACK orders
        XACK orders g
        XACK orders g x
        XACK orders g 1-0 x
        XACK orders g 1
        XACK orders g -
        XPENDING orders g
        XACK absent absent x
    """),
    Scene("XINFO GROUPS says how far a group is", THREE + """
        XGROUP CREATE orders g 0
        XINFO GROUPS orders
        XREADGROUP GROUP g ann COUNT 1 STREAMS orders >
        XINFO GROUPS orders
        XREADGROUP GROUP g ann STREAMS orders >
        XINFO GROUPS orders
        XADD orders 4-3 a b
        XINFO GROUPS orders
        XDEL orders 4-3
        XINFO GROUPS orders                            # lag
        XADD orders 5-4 a b
        XINFO GROUPS orders                            # lag
        XREADGROUP GROUP g ann STREAMS orders >
        XINFO GROUPS orders                            # lag
        XGROUP CREATE orders middle 2-1
        XGROUP CREATE orders end $
        XGROUP CREATE orders before 1
        XGROUP CREATE orders beyond 99
        XINFO GROUPS orders                            # lag
        XTRIM orders MAXLEN 1
        XINFO GROUPS orders                            # lag
        XREADGROUP GROUP middle ann STREAMS orders >
        XREADGROUP GROUP before ann STREAMS orders >
        XINFO GROUPS orders                            # lag
    """),

    # -- XPENDING, XCLAIM, XAUTOCLAIM ---------------------------------------------------------
    Scene("XPENDING", PENDING + """
        XPENDING orders g
        XPENDING orders g - + 10
        XPENDING orders g - + 1
        XPENDING orders g - + 0
        XPENDING orders g - + -1
        XPENDING orders g (1-0 + 10
        XPENDING orders g 2 3 10
        XPENDING orders g - (3-2 10
        XPENDING orders g + - 10
        XPENDING orders g - + 10 ann
        XPENDING orders g - + 1 ann
        XPENDING orders g - + 10 nobody
        XPENDING orders g IDLE 0 - + 10
        XPENDING orders g idle 100000000 - + 10
        XPENDING orders g IDLE 0 - + 10 bob
        XGROUP CREATE orders other 0
        XPENDING orders other
        XPENDING orders other - + 10
        XPENDING orders absent
        XPENDING absent g
        XPENDING absent g - + 10
    """),
    Scene("XPENDING that is mistyped", PENDING + """
        XPENDING
        XPENDING orders
        XPENDING orders g -
        XPENDING orders g - +
        XPENDING orders g - + x
        XPENDING orders g x + 10
        XPENDING orders g - x 10
        XPENDING orders g ( + 10
        XPENDING orders g $ + 10
        XPENDING orders g IDLE
        XPENDING orders g IDLE x - + 10
        XPENDING orders g IDLE 5 - +
        XPENDING orders g IDLE -5 - + 10
        XPENDING orders g - + 10 ann bob                # lax
        XPENDING orders g NONSENSE 5 - + 10             # words
    """),
    Scene("XCLAIM", PENDING + """
        XCLAIM orders g bob 0 1-0
        XPENDING orders g - + 10
        XCLAIM orders g carl 100000000 1-0
        XCLAIM orders g carl 0 1-0 2-1 9-9
        XCLAIM orders g ann 0 1-0 JUSTID
        XPENDING orders g - + 10
        XCLAIM orders g ann 0 1-0 RETRYCOUNT 7
        XCLAIM orders g ann 0 2-1 RETRYCOUNT 5 JUSTID
        XPENDING orders g - + 10
        XCLAIM orders g bob 0 1-0 IDLE 50000
        XPENDING orders g IDLE 40000 - + 10
        XCLAIM orders g bob 40000 1-0 2-1 3-2 JUSTID
        XCLAIM orders g bob 0 2-1 TIME 1000
        XPENDING orders g IDLE 1000000 - + 10
        XCLAIM orders g bob 0 3-2 LASTID 3-2
        XCLAIM orders g bob 0 3-2 idle 1 retrycount 2 force justid lastid 1-0
        XCLAIM orders g bob -5 3-2 JUSTID
        XINFO GROUPS orders
        XINFO CONSUMERS orders g                       # inactive
        XCLAIM orders g dora 0 9-9
        XINFO CONSUMERS orders g                       # inactive
    """),
    Scene("XCLAIM FORCE", GROUP + """
        XCLAIM orders g ann 0 1-0
        XCLAIM orders g ann 0 1-0 FORCE
        XCLAIM orders g ann 0 2-1 FORCE JUSTID
        XCLAIM orders g ann 0 9-9 FORCE JUSTID
        XPENDING orders g - + 10
        XINFO GROUPS orders
        XREADGROUP GROUP g bob STREAMS orders >
        XPENDING orders g - + 10
    """),
    Scene("XCLAIM LASTID", GROUP + """
        XCLAIM orders g ann 0 1-0 FORCE LASTID 2-1
        XINFO GROUPS orders                            # lag
        XREADGROUP GROUP g bob STREAMS orders >
    """),
    Scene("XCLAIM of what was deleted", PENDING + """
        XDEL orders 1-0
        XCLAIM orders g bob 0 1-0 2-1
        XPENDING orders g - + 10
        XCLAIM orders g bob 0 1-0 FORCE
    """),
    Scene("XCLAIM that is mistyped", PENDING + """
        XCLAIM
        XCLAIM orders
        XCLAIM orders g bob
        XCLAIM orders g bob 0
        XCLAIM orders g bob x 1-0
        XCLAIM orders g bob 0 x
        XCLAIM orders g bob 0 1-0 x
        XCLAIM orders g bob 0 1-0 NONSENSE
        XCLAIM orders g bob 0 1-0 IDLE
        XCLAIM orders g bob 0 1-0 IDLE x
        XCLAIM orders g bob 0 1-0 IDLE -1
        XCLAIM orders g bob 0 1-0 TIME x
        XCLAIM orders g bob 0 1-0 RETRYCOUNT x
        XCLAIM orders g bob 0 1-0 RETRYCOUNT -1
        XCLAIM orders g bob 0 1-0 LASTID
        XCLAIM orders g bob 0 1-0 LASTID x
        XCLAIM orders g bob 0 JUSTID
        XCLAIM absent g bob 0 1-0
        XCLAIM orders absent bob 0 1-0
    """),
    Scene("XAUTOCLAIM", PENDING + """
        XAUTOCLAIM orders g carl 100000000 0
        XAUTOCLAIM orders g carl 0 0 COUNT 1
        XAUTOCLAIM orders g carl 0 2-1 COUNT 1
        XAUTOCLAIM orders g carl 0 0
        XAUTOCLAIM orders g dora 0 - justid
        XPENDING orders g - + 10
        XAUTOCLAIM orders g dora 0 (1-0 COUNT 1 JUSTID
        XAUTOCLAIM orders g dora 0 9-9
        XAUTOCLAIM orders g dora 0 +
        XDEL orders 2-1
        XAUTOCLAIM orders g ann 0 0
        XPENDING orders g
        XAUTOCLAIM orders g ann 0 0
        XTRIM orders MAXLEN 0
        XAUTOCLAIM orders g ann 0 0 COUNT 1 JUSTID
        XAUTOCLAIM orders g ann 0 0
        XPENDING orders g
    """),
    Scene("XAUTOCLAIM that is mistyped", PENDING + """
        XAUTOCLAIM
        XAUTOCLAIM orders g carl
        XAUTOCLAIM orders g carl 0
        XAUTOCLAIM orders g carl x 0
        XAUTOCLAIM orders g carl -1 0 JUSTID
        XAUTOCLAIM orders g carl 0 x
        XAUTOCLAIM orders g carl 0 $
        XAUTOCLAIM orders g carl 0 (
        XAUTOCLAIM orders g carl 0 0 COUNT
        XAUTOCLAIM orders g carl 0 0 COUNT x
        XAUTOCLAIM orders g carl 0 0 COUNT 0
        XAUTOCLAIM orders g carl 0 0 COUNT -1
        XAUTOCLAIM orders g carl 0 0 NONSENSE
        XAUTOCLAIM absent g carl 0 0
        XAUTOCLAIM orders absent carl 0 0
    """),
    Scene("odd names of groups and consumers", THREE + """
        XGROUP CREATE orders g@h 0
        XGROUP CREATE orders "with space" 0
        XGROUP CREATE orders a:b 0
        XREADGROUP GROUP a:b x:y COUNT 1 STREAMS orders >
        XREADGROUP GROUP "with space" "con sumer" COUNT 1 STREAMS orders >
        XREADGROUP GROUP g@h grün COUNT 1 STREAMS orders >
        XINFO GROUPS orders
        XINFO CONSUMERS orders a:b                     # inactive
        XPENDING orders g@h
        XPENDING orders "with space" - + 10
    """),

    # -- keys and what there is -----------------------------------------------------------------
    Scene("KEYS, SCAN and DBSIZE", """
        DBSIZE
        KEYS *
        SCAN 0
        RANDOMKEY
        XADD orders 1-0 a b
        XADD order 1-0 a b
        XADD bills 1-0 a b
        XADD a:1 1-0 a b
        XGROUP CREATE empty g $ MKSTREAM
        DBSIZE
        sorted KEYS *
        sorted KEYS order*
        sorted KEYS ?rders
        sorted KEYS [ab]*
        KEYS nothing*
        KEYS a:1
        KEYS ""
        KEYS
        KEYS a b
        SCAN 0 MATCH nothing* COUNT 1000
        SCAN 0 MATCH a:* COUNT 1000
        SCAN 0 TYPE string COUNT 1000
        SCAN 0 MATCH order TYPE stream COUNT 1000
        SCAN 0 COUNT 0
        SCAN 0 COUNT x
        SCAN 0 NONSENSE
        SCAN 0 MATCH
        SCAN x
        SCAN -1 MATCH nothing*
        SCAN
        XDEL orders 1-0
        EXISTS orders
        DEL orders order
        DBSIZE
        sorted KEYS *
    """, alone=True),
    Scene("what is asked of a key", """
        TYPE absent
        EXISTS absent
        XADD orders 1-0 a b
        TYPE orders
        TYPE
        TYPE orders orders
        EXISTS
        EXISTS orders orders absent
        TTL orders
        TTL absent
        PTTL orders
        PTTL absent
        EXPIRETIME orders
        EXPIRETIME absent
        PEXPIRETIME orders
        PEXPIRETIME absent
        TTL
        TOUCH orders absent
        TOUCH
        PERSIST orders
        PERSIST absent
        OBJECT ENCODING orders
        OBJECT ENCODING absent
        OBJECT REFCOUNT orders
        OBJECT REFCOUNT absent
        OBJECT IDLETIME absent
        OBJECT FREQ absent
        OBJECT FREQ orders
        OBJECT
        OBJECT ENCODING
        OBJECT NONSENSE orders
        OBJECT HELP                 # help
        MEMORY USAGE absent
        MEMORY USAGE
        MEMORY NONSENSE
        RENAME absent bills         # refused
        EXPIRE absent 5             # refused
        COPY absent bills           # refused
        DUMP absent                 # refused
        MOVE absent 1               # refused
    """),
    Scene("commands for values that aren't streams", """
        GET absent                  # values
        SET absent x                # values
        HGETALL absent              # values
        LRANGE absent 0 -1          # values
        SMEMBERS absent             # values
        INCR absent                 # values
        LPUSH absent x              # values
    """),
    Scene("commands for values that aren't streams, of a stream", """
        XADD orders 1-0 a b
        GET orders                  # values
        LPUSH orders x              # values
        EXPIRE orders 100           # for-ever
    """),
    Scene("what a server says of itself", """
        PING
        PING hello
        PING a b
        ECHO hello
        ECHO
        SELECT 0
        SELECT x
        SELECT 99
        ROLE
        WAIT 0 0
        WAIT x 0                    # words
        MODULE LIST
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
        CONFIG GET
        CONFIG NONSENSE
        COMMAND NONSENSE
        COMMAND INFO nothing-like-this
        COMMAND GETKEYS XADD orders * a b
        COMMAND GETKEYS XREAD COUNT 2 STREAMS orders bills 0 0
        COMMAND GETKEYS XREADGROUP GROUP g ann STREAMS orders bills > >
        COMMAND GETKEYS DEL orders bills
        COMMAND GETKEYS XGROUP CREATE orders g $
        COMMAND GETKEYS PING
        COMMAND GETKEYS
        COMMAND GETKEYSANDFLAGS XADD orders * a b
        COMMAND GETKEYSANDFLAGS XRANGE orders - +
        COMMAND COUNT x
        NONSENSE
        NONSENSE a b c
        RESET
        PING
    """, alone=True),

    Scene("numbers at the edge", THREE + """
        XREAD BLOCK 9223372036854775807 STREAMS orders 0
        XREAD BLOCK 9223372036854775808 STREAMS orders 0
        XREAD BLOCK 99999999999999999999 STREAMS orders 0
        XREAD COUNT 9223372036854775807 STREAMS orders 0
        XREAD COUNT 9223372036854775808 STREAMS orders 0
        XREAD COUNT -9223372036854775808 STREAMS orders 0
        XREAD COUNT 01 STREAMS orders 0
        XREAD COUNT +1 STREAMS orders 0
        XREAD COUNT "" STREAMS orders 0
        XREAD COUNT " 1" STREAMS orders 0
        XREAD STREAMS orders 18446744073709551615-18446744073709551615
        XREAD STREAMS orders 0-18446744073709551615
        XREAD STREAMS orders 1-18446744073709551615
        XRANGE orders (0-18446744073709551615 +
        XRANGE orders - (2-0
        XRANGE orders 00000001-0000 0002-01
        XTRIM orders MAXLEN 9223372036854775807
        XTRIM orders MAXLEN 9223372036854775808
        XTRIM orders MAXLEN 02
        XTRIM orders MINID 0-0
        XTRIM orders MAXLEN ~ 9223372036854775807 LIMIT 9223372036854775807
        XPENDING orders g - + 9223372036854775807
        XGROUP CREATE orders g 0
        XREADGROUP GROUP g ann COUNT 9223372036854775807 STREAMS orders >
        XPENDING orders g - + 9223372036854775807
        XPENDING orders g IDLE 9223372036854775807 - + 5
        XCLAIM orders g bob 9223372036854775807 1-0
        XCLAIM orders g bob 0 1-0 IDLE 9223372036854775807
        XCLAIM orders g bob 0 1-0 TIME 9223372036854775807
        XCLAIM orders g bob 0 1-0 TIME -5
        XCLAIM orders g bob 0 1-0 RETRYCOUNT 9223372036854775807 JUSTID
        XAUTOCLAIM orders g carl 0 0 COUNT 1000
        XAUTOCLAIM orders g carl 9223372036854775807 0
        XGROUP SETID orders g 0 ENTRIESREAD 9223372036854775807
        XGROUP CREATE orders h 0 ENTRIESREAD 9223372036854775808
        SCAN 18446744073709551616
        SCAN 0 COUNT 9223372036854775808
        SELECT 9223372036854775808
        WAIT 0 -1                   # words
    """),
    Scene("what is sent behind a read that waits", """
        2 waits XREAD BLOCK 0 STREAMS orders $
        XADD orders 1-0 a b
        2 gets
        2 XADD orders 2-1 a b
        2 XREAD BLOCK 5 STREAMS orders $
        2 PING
        2 MULTI
        2 XADD orders * a b
        2 DISCARD
        2 PING
    """),
    Scene("a read that waits on a stream that is deleted", THREE + """
        2 waits XREAD BLOCK 0 STREAMS orders $
        DEL orders
        four = XADD orders * a b
        2 gets
    """),
    Scene("many readers of a group, one event each", """
        XGROUP CREATE orders g $ MKSTREAM
        2 waits XREADGROUP GROUP g ann COUNT 1 BLOCK 0 STREAMS orders >
        3 waits XREADGROUP GROUP g bob COUNT 1 BLOCK 0 STREAMS orders >
        4 waits XREADGROUP GROUP g carl COUNT 1 BLOCK 0 STREAMS orders >
        5 waits XREAD BLOCK 0 STREAMS orders $
        6 waits XREAD BLOCK 0 STREAMS bills orders $ $
        XADD orders 1-0 a b
        2 gets
        5 gets
        6 gets
        XADD orders 2-1 a b
        3 gets
        XADD orders 3-2 a b
        4 gets
        XPENDING orders g - + 10
        XINFO GROUPS orders
    """),

    # -- MULTI --------------------------------------------------------------------------------
    Scene("MULTI stores all or nothing", """
        MULTI
        XADD orders * a b
        XADD orders * c d e f
        XADD bills * a b
        PING
        ECHO hello
        2 EXISTS orders
        DISCARD
        XLEN orders
        MULTI
        EXEC
        MULTI
        XADD orders * a b
        2 XLEN orders
        PING
        DISCARD
        2 EXISTS orders
        MULTI
        PING
        ECHO hello
        PING hello
        EXEC
        EXEC
    """),
    Scene("MULTI of ids that are given", """
        MULTI
        XADD orders 1-0 a b
        XADD orders 1-* c d
        XADD bills 5-0 e f
        XADD orders 3-2 g h i j
        EXEC
        XRANGE orders - +
        XRANGE bills - +
        MULTI
        XADD bills 6-1 a b
        XADD orders 3-2 a b
        EXEC                                    # none-of-it
        XLEN orders
    """),
    Scene("MULTI that is misused", """
        EXEC
        DISCARD
        MULTI
        MULTI
        EXEC
        MULTI
        NONSENSE
        XADD orders * a b
        EXEC
        EXISTS orders
        MULTI
        XADD orders
        EXEC
        MULTI
        WATCH orders
        PING
        EXEC
        XLEN orders
        MULTI
        DISCARD
        DISCARD
        MULTI x
        DISCARD x
        UNWATCH
    """),
    Scene("MULTI of commands that don't store", """
        XADD orders 1-0 a b
        MULTI
        XLEN orders                 # only-adds
        EXEC                        # only-adds
    """),
    Scene("WATCH", """
        WATCH orders                # watch
        UNWATCH
    """),

    # -- pub/sub --------------------------------------------------------------------------------
    Scene("PSUBSCRIBE", """
        2 PSUBSCRIBE ord* b?lls
        2 gets
        2 PSUBSCRIBE ord*
        2 PUNSUBSCRIBE b?lls
        2 PUNSUBSCRIBE nothing
        2 PSUBSCRIBE
        2 PUNSUBSCRIBE
        2 PUNSUBSCRIBE
        PUNSUBSCRIBE
        PUBSUB NUMPAT
        PUBSUB CHANNELS
        PUBSUB NUMSUB
        PUBSUB NUMSUB orders
        PUBSUB
        PUBSUB NONSENSE
    """, alone=True),
    Scene("a message comes to who waits for its channel's name or pattern", """
        2 SELECT 1
        2 SUBSCRIBE news
        3 PSUBSCRIBE n*s
        PUBLISH news hello
        2 gets
        3 gets
        PUBLISH nobody hello
        PUBLISH newspapers "\\x00\\xff\\r\\n"
        3 gets
        PUBSUB CHANNELS
        PUBSUB NUMSUB news other
        PUBSUB NUMPAT
        2 UNSUBSCRIBE news
        2 UNSUBSCRIBE
        3 PUNSUBSCRIBE
        PUBLISH news hello
    """, alone=True),
    Scene("a connection that is subscribed", """
        2 PSUBSCRIBE x*
        2 PING
        2 PING hello
        2 XLEN orders
        2 SUBSCRIBE
        2 PUNSUBSCRIBE
        2 PING
        2 XLEN orders
        2 RESET
        SSUBSCRIBE x                    # shards
        PUBLISH
        PUBLISH a
    """),

    # -- HELLO ----------------------------------------------------------------------------------
    Scene("HELLO that is mistyped", """
        HELLO 1
        HELLO 4
        HELLO x
        HELLO 3 NONSENSE
        HELLO 3 SETNAME
        HELLO 3 AUTH
        HELLO 3 AUTH default
        HELLO 3 SETNAME "with space"
        CLIENT GETNAME
    """),
]
