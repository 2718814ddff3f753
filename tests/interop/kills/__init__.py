"""Processes of a whole pool killed with SIGKILL at random moments, and what must hold after each: docs/restart.md.

`python -m tests.interop.kills --count 200 --seed 1` for a long run.
"""
