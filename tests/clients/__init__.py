"""Redis's clients, each from its own registry and with its default settings, against this server.

    make clients                                  all of them, in turns of their languages
    python3 -m tests.clients go-redis jedis       these

A **program** (`programs.py`) connects with a library, does what people do with it, and prints a line that begins
with `- ` for each step.  The lines are the same for all of them: `story.py` has them, and what happens to the server
when one is read.  What a program prints besides is shown when it fails.

    languages.py   what installs libraries into a folder, and what runs the programs
    paste.py       the lines of a program that docs/redis.md shows: between [paste and paste], but for [test]
"""
