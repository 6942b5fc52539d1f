"""Make `lstm_oracle.<room>` importable from a checkout that is not installed."""

import importlib.util
import sys
import types
from pathlib import Path

if importlib.util.find_spec("lstm_oracle") is None:
    namespace = types.ModuleType("lstm_oracle")
    namespace.__path__ = [str(Path(__file__).parent)]
    sys.modules["lstm_oracle"] = namespace
