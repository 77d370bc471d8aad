"""The manual is checked where its builder is; elsewhere there is nothing to collect."""

from importlib.util import find_spec

collect_ignore_glob = [] if all(find_spec(name) for name in ("griffe", "mkdocs", "sybil")) else ["test_*.py"]
