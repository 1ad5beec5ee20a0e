"""An OpenAI-compatible endpoint on this machine: a simulator, or the embedded model.

What comes in: HTTP. What goes out: chat completions. It is the other side of the wire: it imports nothing of the house
but the errors, and shares no code with the client, so that the two cannot be wrong together.
"""

from __future__ import annotations

from batchchat.serve.local import LocalModel
from batchchat.serve.service import serve
from batchchat.serve.simulator import Simulator

__all__ = ["LocalModel", "Simulator", "serve"]
