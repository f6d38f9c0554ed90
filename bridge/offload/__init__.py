"""The cloud seen as a slower runtime: asked with a deadline, and never waited for beyond it."""
