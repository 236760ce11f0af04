"""Trains the network: arrays in, a trained net out.

`targets` turns labels into what the network should answer (unit space), `model` is the network, `losses` is what
training minimises, and `loop` is how.  `train.rebuild` puts the whole training together.
"""
