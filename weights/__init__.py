"""Model files that ship with the tracker; `tracker.backends.weights` and `tracker.detectors` load and verify them."""
