"""How good weights are: a network and labelled faces in; figures, charts and pages out.

Errors are in crop px (Kaggle) or per cent of the outer-eye distance or the face's box (photographs).
"""
