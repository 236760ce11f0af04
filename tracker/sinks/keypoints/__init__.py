"""Keypoints as text, tables and messages: one `Tracked` per frame in; files, standard output and datagrams out.

`record` holds what every format says, and `registry` names the formats of files.  Coordinates are frame px.
"""
