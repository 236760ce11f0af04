"""The tracking loop and its stages: frames in, one `Tracked` per frame out, everything in frame px.

`loop` is the whole idea on one screen, with the contract of each stage; `follow` composes the stages for one run.
`schedule` decides how closely the detector looks at each frame, `association` gives faces lasting ids, `landmarks` gets
keypoints from the network, `motion` follows where a face goes, `smoothing` and `smoothing_offline` steady the
keypoints, `head_pose` computes head poses, `privacy` covers heads.
"""
