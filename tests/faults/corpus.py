"""The inputs that are kept: tests/corpus/ORACLE.txt, one in each line, written as Python writes bytes.

They are what a fuzzer found to lead the code somewhere else, and what once broke it.  To look for more and
keep what is found, for as many minutes as you have (atheris is in requirements-torture.txt):

    python3 -m tests.faults.fuzz parser --minutes 10
"""

import ast
import random
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "corpus"


def load(name):
    """The kept inputs for an oracle."""
    return [ast.literal_eval(line) for line in (FOLDER / f"{name}.txt").read_text().splitlines()]


def save(name, inputs):
    """Keep these inputs, the shortest first."""
    lines = [f"{data!r}\n" for data in sorted(set(inputs), key=lambda data: (len(data), data))]
    (FOLDER / f"{name}.txt").write_text("".join(lines))


# What stands for itself in RESP, and numbers at the edges of what is allowed.
WORDS = [b"\r\n", b"\r", b"\n", b"*", b"$", b"-1", b"0", b"1", b"4", b"18", b"999999999", b"1000000000000000000",
         b"00", b"+", b"-", b":", b"_", b"#t", b",1e5", b",inf", b"(1", b"!", b"=8\r\ntxt:", b"%1\r\n", b"~2\r\n",
         b">2\r\n", b"|1\r\n", b"*?\r\n", b"$?\r\n", b"*4\r\n$7\r\npublish\r\n$1\r\ns\r\n$1\r\nn\r\n$1\r\nx\r\n",
         b"*1\r\n", b"*0\r\n", b"$0\r\n\r\n", b"\x00", b"\xff", b"\xff\xff\xff\xff", b"PuBlIsH", b"$300\r\n"]
# Bytes of an input that is made here, and of one that is kept.
LONGEST = 4096
LONGEST_KEPT = 160


class Mutator:
    """Inputs made of others by chance, where no fuzzer is at hand; the same from the same seed."""

    def __init__(self, seed, inputs):
        self._draw = random.Random(seed)
        self._inputs = inputs

    def next(self):
        draw = self._draw
        data = draw.choice(self._inputs)
        for _ in range(draw.choice([1, 1, 2, 3, 8])):
            data = self._change(data)
        return data[:LONGEST]

    def _change(self, data):
        draw = self._draw
        at, end = sorted(draw.randrange(len(data) + 1) for _ in range(2))
        what = draw.randrange(7)
        if what == 0:
            return data[:at] + draw.choice(WORDS) + data[at:]
        if what == 1:
            return data[:at] + draw.choice(WORDS) + data[end:]
        if what == 2:
            return data[:at] + data[end:]
        if what == 3:
            return data[:end] + data[at:end] * draw.choice([1, 2, 50]) + data[end:]
        if what == 4:
            return data[:at] + bytes([draw.randrange(256)]) + data[at + 1:]
        if what == 5:
            return data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1:] if at < len(data) else data
        other = draw.choice(self._inputs)
        return data[:at] + other[draw.randrange(len(other) + 1):]
