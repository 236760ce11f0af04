"""Model files that ship with the tracker; `tracker.weights` and `tracker.detect` load and verify them."""
