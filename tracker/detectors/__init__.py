"""Face detectors: a BGR frame in, its faces out, best first, boxes and regions in frame px.

`contract` says what a detector takes and returns; `registry` names them all, each with its threshold.  A detector only
looks: when to ask it and how closely is decided by `tracker.core.schedule`.
"""
