"""Real-time facial keypoint tracker."""

__version__ = "0.1.0"
