"""`python -m ntspool`."""

from ntspool.app.cli import main

main()
