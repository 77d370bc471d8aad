"""``wattloop watch``: any command, measured as it runs.

The command is started as soon as what was asked is understood: what measuring needs is imported beside it, and what it
drew until then is filled in and said to be. Nothing here imports at its head what the command would have to wait for.
"""
