"""Tools that know nothing of faces: atomic files, threads, signals, clocks, addresses, the cache folder.

Nothing here imports more of the tracker than its errors.
"""
