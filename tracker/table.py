"""Keypoint files as one pandas table: the public door to `tracker.sinks.keypoints.table`."""

from tracker.sinks.keypoints.table import read

__all__ = ["read"]
