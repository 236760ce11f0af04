"""The tracking loop and its stages: frames in, one `Tracked` per frame out, everything in frame px.

`loop` is the whole idea on one screen, with the contract of each stage; `follow` composes the stages for one run.
`schedule` decides when the detector is asked, `association` gives faces lasting ids, `landmarks` asks the network for
keypoints, `smoothing` and `smoothing_offline` steady them, `head_pose` reads where heads face, `privacy` covers them.
"""
