"""Where windows are computed: `port` is what the agent knows, `inprocess` and `onnx` are how it is done by default.

A serving cluster (Ray Serve) or any Open Inference Protocol server (Triton, KServe) is another implementation of
`port.CloudEngine` beside them: its `answers` awaits a request instead of a thread. None is here yet.
"""
