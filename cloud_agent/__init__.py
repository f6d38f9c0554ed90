"""The cloud side: answers the windows that are too hard for a gateway."""
