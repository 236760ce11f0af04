"""Rebuilds the weights: data, network, training, evaluation, export."""

import tracker  # noqa: F401  stops ONNX Runtime's usage reporting before anything here imports it
