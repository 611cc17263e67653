"""`python -m steam_assets` is `steam-assets`."""

from steam_assets.cli import main

main()
