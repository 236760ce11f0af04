"""Runtimes of the network: crops or whole frames in, keypoints and their uncertainty (unit space) out.

`contract` says what a runtime takes and returns, `registry` names them all, `choice` picks one, and `weights` loads the
network and the card that describes it.  `onnxruntime` runs on processors and `onnxruntime_cuda` on NVIDIA GPUs.
`tensorrt` compiles the network for one GPU and also cuts the crops there.  `selfcheck` compares every GPU with the
processor.
"""
