"""How fast the server is, beside Redis on the same machine: `python3 -m bench`.

    __main__ ──> workloads ──> trial ──> servers   start one, fresh, in a temporary folder
        |                        '─────> load      processes that use it; wire: what they say
        '──────> report                            table, JSON, SVG

Linux only, for it asks /proc and epoll.
"""
