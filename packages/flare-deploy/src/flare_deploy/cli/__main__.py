"""``python -m flare_deploy.cli``: the command ``flare``."""

from flare_deploy.cli import main

main()
