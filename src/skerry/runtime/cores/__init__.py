"""Core files of this host: what the kernel starts when a process dies (handler), who asked for it, and where they lie within bounds.

What is in here needs the standard library alone, and little of it: the handler is started for each process of a host that dies of a
signal, and whoever waits for it is a container that can't be started anew.
"""
