"""The bridge: sensors in, inferences out, what is too hard to the cloud. `docs/ARCHITECTURE.md` has the picture."""

__version__ = "0.1.0"
