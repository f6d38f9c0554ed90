"""What the path can carry, and which transport suits it. Pure. Empty until the link decides the transport."""
