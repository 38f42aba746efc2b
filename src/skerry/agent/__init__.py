"""The node daemon: it gathers what happens, lets `core` decide, and carries it out. Nothing is decided here.

`loop` joins the rooms; `door` is where every record enters; `containers`, `images` and `links` do what effects ask for;
`streams` and `serve` answer operators; `debugging`, `looking`, `logs` and `metrics` look in; `alerts` tells, `renting` grows,
`waking` holds who knocks; `files` is what lies on the host's disk.
"""
