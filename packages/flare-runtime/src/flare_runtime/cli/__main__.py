"""``python -m flare_runtime.cli``: the command ``flare``."""

from flare_runtime.cli import main

main()
