"""The command line's commands; meilies_cli.py, beside this folder, runs one of them.

    arguments ──> parsing ──> a command's function ──> connecting: a Client ──> the server
                                    |
                                    '──> showing: standard output

    publishing   publish, append, dcb-append            migrating   migrate, with redis_streams
    reading      what there is, and ends                groups      consumer groups
    following    what comes, and what runs for each     watching    ping, info, monitor
    keeping      retention, deletion, snapshots         top         the live view
    copies       backup, export, import, check, chain   completing  completion for shells

Each of these has add(commands), which says what its commands are called, what they
take, and how they are used; see parsing.Commands.
"""
