"""Where results go: films, pictures, keypoint files, a window, other programs.

One `Tracked` per frame goes in, in order, points in frame px.  `contract` says what a sink is; each kind has its own
module and opener.
"""
