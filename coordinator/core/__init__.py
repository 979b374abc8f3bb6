"""The pure heart: what a partition is, when it is ready, and what any fact does to it.

Standard library only. Nothing here reads a clock, draws a random number, logs or does I/O.
"""
