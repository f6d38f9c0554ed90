"""Running graphs.

Import the parts by name: `ort`, `providers`, `engine` and `load` need ONNX Runtime; `port`, `fake` and `scores` do not.
"""
