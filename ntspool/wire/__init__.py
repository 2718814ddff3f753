"""Floor 0: bytes to values and back. Standard library only; no I/O, clock, randomness or logging."""
