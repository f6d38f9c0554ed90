"""The main job on recorded people, end to end: `make demo`."""
