"""The commands of ``wattloop``, one a module; what a command works with is imported when it runs."""
