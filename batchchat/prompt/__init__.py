"""A row becomes a chat request: columns in, `Task` out.

builder.py  the messages, from a column, a template or a column of messages, and the request around them
images.py   images that a row names: checked, fingerprinted, put into its request when that is sent
"""

from __future__ import annotations

from batchchat.prompt.builder import RequestBuilder, Template, Where
from batchchat.prompt.images import filled

__all__ = ["RequestBuilder", "Template", "Where", "filled"]
