"""Tables out: the input's rows, unchanged, with the result columns beside them.

In come a table (`dataset`'s, known here by the shape in `source` only), the result columns and a way to look results
up by row; out comes a published file or folder. The room knows nothing of requests and answers.

Unchanged means unchanged: where input and output have the same format, what was there is passed through byte for byte.
The same input and results give the same bytes.
"""

from batchchat.output.check import check_names, check_output
from batchchat.output.joined import joined
from batchchat.output.publish import Published, digest, publish

__all__ = ["Published", "check_names", "check_output", "digest", "joined", "publish"]
