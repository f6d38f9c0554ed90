"""Where to compute. Pure: no I/O, no clock."""
