"""The command lines: words in, an exit code out.

`track` and `bench` turn words into `Options` or settings, and import what does the work only after that, so that
`--help` answers at once; `help` is how their help reads.
"""
