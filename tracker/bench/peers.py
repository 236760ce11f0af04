"""The names of other trackers that can be measured beside ours."""

from typing import Literal

PeerName = Literal["mediapipe"]
