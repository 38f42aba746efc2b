"""What is seen of a container without any tool: its files, processes, sockets, packets. Read by a child of the agent (child.py)."""
