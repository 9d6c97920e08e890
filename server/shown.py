"""Events and what they hold, as JSON that a browser can show without harm to a number or a byte.

Numbers and positions are text: a browser's numbers end at 2^53.  Times are microseconds since
1970, which fit.  Bytes that are UTF-8 are text, all others hexadecimal digits.
"""

# Bytes of data that a list shows of an event, and a page of its own; of bytes that aren't text fewer.
PREVIEW = 400
WHOLE = 1 << 20
PREVIEW_HEX = 48
WHOLE_HEX = 16 * 1024


def brief(recorded):
    """What a list shows of an event, given as `read` and `follow` send it."""
    _, position, stream, number, name, data, id_, metadata, time = recorded
    return {
        "position": str(position), "stream": stream.decode("utf-8", "replace"), "number": str(number),
        "name": name.decode("utf-8", "replace"), "time": time, "id": id_.decode("utf-8", "backslashreplace"),
        "data": value(data, PREVIEW, PREVIEW_HEX), "metadata_size": len(metadata),
    }


def whole(recorded):
    """What its own page shows."""
    *_, data, _, metadata, _ = recorded
    return {**brief(recorded), "data": value(data, WHOLE, WHOLE_HEX), "metadata": value(metadata, WHOLE, WHOLE_HEX)}


def value(data, longest, longest_hex):
    """{"size": bytes, "cut": whether there is more, "text": str, or "hex": digits}."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return {"size": len(data), "cut": len(data) > longest_hex, "hex": data[:longest_hex].hex()}
    if len(data) > longest:
        text = data[:longest].decode("utf-8", "ignore")     # but for a character that is cut in two
    return {"size": len(data), "cut": len(data) > longest, "text": text}
