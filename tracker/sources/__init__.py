"""Where frames come from: a film, pictures, a camera, or the demo that needs none of them.

A path or a camera's number goes in; upright BGR frames with their times come out.  `contract` says what a source is,
and `registry.open_source` picks one; each kind has its own module and opener.
"""
