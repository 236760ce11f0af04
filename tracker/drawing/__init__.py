"""Results as a picture: a `Tracked` in (frame px), a new BGR image with the faces marked out.

`draw.draw` is the contract; `styles` holds tables of what each look consists of.
"""
