"""Fitting the network: arrays in, a trained net out.

`targets` turns labels into what the network should say (unit space), `model` is the network, `losses` is what it
minimises, `loop` is how; `train.rebuild` puts the whole training together.
"""
