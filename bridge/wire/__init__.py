"""Bytes ↔ messages. Pure: no I/O, no clock; every input parses or raises `bridge.errors.Refused`."""
