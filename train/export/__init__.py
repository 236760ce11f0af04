"""Trained nets as files: a torch module in; ONNX networks and their card out.

`onnx` writes the contract's network and its card; `fp16_form`, `cpu_form` and `yunet_form` make the other forms.
`from_onnx` turns finished weights into a torch module again.
"""
