"""Training data: Kaggle's and other labelled faces as files in; crops, labels and weights as arrays out.

Images are (N, 96, 96) uint8 gray.  `kaggle` and `faces68` read the data, `schemes` knows the label conventions,
`duplicates` and `split` keep pictures of one face on one side.
"""
