"""The edge agent: takes rows from a sensor, keeps them on disk, and forgets them when the bridge says they are safe."""
