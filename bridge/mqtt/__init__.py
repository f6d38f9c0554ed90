"""MQTT 5: a session without I/O, a thin asyncio connection around it, and the embedded broker."""
