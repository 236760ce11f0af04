"""Where results go: films, pictures, keypoint files, a window, other programs.

One `Tracked` per frame goes in, in order, points in frame px.  `contract` says what a sink is; each kind has its own
module and opener.  Sinks that show the picture take `tracked.frame.image` as it is, drawn once for all of them.
"""
