"""Floor 1: decisions. Pure functions of their arguments: time and randomness are handed in."""
