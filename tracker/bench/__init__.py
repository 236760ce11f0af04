"""Measurements of the tracker: frames in, milliseconds, megabytes and pixels out.

`speed` times the stages and whole runs, `steadiness` measures jitter, lag and error against exact truth, `gpu` compares
the runtimes for NVIDIA GPUs, and `mediapipe_baseline` puts another tracker beside ours.
"""
