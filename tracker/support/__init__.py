"""Tools without knowledge of faces: files that appear whole, threads, signals, clocks, addresses, the cache folder.

Nothing here imports more of the tracker than its errors.
"""
