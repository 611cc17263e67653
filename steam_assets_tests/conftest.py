"""What every test may ask for: databases of our own (databases.py), models that need no network (models.py), rows
to embed (rows.py), a Dagster instance (dagster_home.py), and a comparison (compared.py)."""

import os
import signal

# A shell starts what it puts into the background with Ctrl-C ignored, and every process of ours would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Before any library reads them: no test reaches a model hub or sends telemetry.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["DAGSTER_DISABLE_TELEMETRY"] = "yes"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

pytest_plugins = [f"steam_assets_tests.{name}" for name in ("databases", "models", "rows", "dagster_home", "compared")]
