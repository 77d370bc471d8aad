"""Words: the arguments of functions, called as they are on the command line."""

from __future__ import annotations

import re

TYPE_CHECKING = False  # `watch` has a command waiting
if TYPE_CHECKING:
    from collections.abc import Iterable

_ARGUMENT = re.compile(r"\b([a-z]+(?:_[a-z]+)*)=(True\b|[^\s;,.:)])?")
_OTHERWISE = re.compile(r"; for any other [^;]*?\bgive (\w+)=[^;]*")


def as_options(message: str, options: Iterable[str]) -> str:
    """Call arguments by what the user typed; what to give otherwise is left out where it is no option.

    Args:
        message: Of a function that has an argument for each option.
        options: Their names.

    Example:
        >>> as_options("net_share=2.0 is not accepted; give a number", ["net_share"])
        '--net-share 2.0 is not accepted; give a number'
        >>> as_options("modelled_cpu=True estimates; for any other place give intensity= in g", ["modelled_cpu"])
        '--modelled-cpu estimates'
    """
    known = {*options}

    def written(match: re.Match[str]) -> str:
        name, value = match[1], match[2]
        if name not in known:
            return match[0]
        return f"--{name.replace('_', '-')}" + (f" {value}" if value and value != "True" else "")

    message = _OTHERWISE.sub(lambda match: match[0] if match[1] in known else "", message)
    return _ARGUMENT.sub(written, message)
