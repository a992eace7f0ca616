"""From files to what models learn from: text as tokens and their batches, tables as a panel of series, and examples."""

from .columns import Columns
from .corpus import Corpus, Tokens, build_corpus, encode_files
from .encodings import LEVELS, Encoding, build_encoding, encoding_from
from .frequency import Frequency
from .labelled import Example, Reading, Sieve, examples
from .panel import Panel, build_panel
from .sources import BUILTIN, DataError, Told, builtin_text, chunks, files, lines, untold
from .tables import Table, read_table
from .windows import Windows, evaluation_windows

__all__ = [
    "BUILTIN",
    "LEVELS",
    "Columns",
    "Corpus",
    "DataError",
    "Encoding",
    "Example",
    "Frequency",
    "Panel",
    "Reading",
    "Sieve",
    "Table",
    "Tokens",
    "Told",
    "Windows",
    "build_corpus",
    "build_encoding",
    "build_panel",
    "builtin_text",
    "chunks",
    "encode_files",
    "encoding_from",
    "evaluation_windows",
    "examples",
    "files",
    "lines",
    "read_table",
    "untold",
]
