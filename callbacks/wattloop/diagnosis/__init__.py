"""``wattloop doctor``: what is measured here, what is not, why, and what would help.

The instruments are opened and read by the code that a run uses, and the reasons are that code's own.
"""
