"""Training data: Kaggle's and other labelled faces as files in; gray pictures and their labels as arrays out.

`kaggle` and `faces68` read the data, `sanity` refuses what cannot be labels, `schemes` knows the label conventions.
`duplicates` and `split` keep pictures of one face on one side.  `lids` and `occluders` draw closed eyes and masks.
"""
