"""The lines of a program that somebody may paste: those between [paste and paste], but for lines with [test].

A program is told its server's port, which the lines have as 6480.
"""

import re
import textwrap

_PORT = ((r'" \+ PORT', '6480"'), (r"\$PORT", "6480"), (r"\bPORT\b", "6480"))


def lines_to_paste(source):
    """What docs show of the text of a program."""
    parts, part = [], None
    for line in source.splitlines(keepends=True):
        if line.rstrip().endswith("[paste"):
            part = []
        elif line.rstrip().endswith("paste]"):
            parts.append(textwrap.dedent("".join(part)))
            part = None
        elif part is not None and "[test]" not in line:
            part.append(line)
    text = "".join(parts).rstrip("\n") + "\n"
    for pattern, port in _PORT:
        text = re.sub(pattern, port, text)
    return text
