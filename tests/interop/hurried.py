"""ntspool in a hurry, `python -m tests.interop.hurried COMMAND...`: rotations may be seconds apart."""

from ntspool.app import keykeeper
from ntspool.config import values

# Read whenever they are needed, so it does to set them before the command begins.
keykeeper.LOOK_INTERVAL = 0.5  # type: ignore[misc]
values.SHORTEST_ROTATION = 1.0

if __name__ == "__main__":
    from ntspool.app.cli import main

    main()
