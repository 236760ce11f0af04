"""Rebuilds the weights: data, network, training, evaluation, export."""
