"""The figures of docs/benchmarks.md, measured on whole machines: `make bench`. One figure, or one kind of them, a file."""
