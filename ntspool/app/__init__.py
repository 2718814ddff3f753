"""Floor 3: composition. The only place where objects are wired together."""
