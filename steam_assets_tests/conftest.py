"""What every test may ask for: databases of our own (databases.py) and models that need no network (models.py)."""

import os

# Before any library reads them: no test reaches a model hub or sends telemetry.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["DAGSTER_DISABLE_TELEMETRY"] = "yes"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

pytest_plugins = ["steam_assets_tests.databases", "steam_assets_tests.models"]
