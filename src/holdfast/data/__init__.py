"""From files to what models learn from: text as tokens and their batches, tables as a panel of series, and examples.

Sounds have a package of their own, `holdfast.data.audio`.
"""

from .charsets import UnknownCharset, known_charset, reading_as
from .columns import Columns
from .corpus import Corpus, Tokens, build_corpus, encode_files
from .encodings import LEVELS, Encoding, build_encoding, encoding_from
from .frequency import Frequency
from .kept import fingerprint
from .labelled import Content, Example, Fault, Kind, Reading, Sieve, content_of, examples, label_of, recordings
from .panel import Panel, build_panel
from .sequences import Labelled, Manner, Sequences, build_labelled, tokens_of
from .sources import BUILTIN, DataError, Told, builtin_text, chunks, digests_so_far, files, lines, untold, within
from .tables import Table, read_table
from .windows import Windows, evaluation_windows

__all__ = [
    "BUILTIN",
    "LEVELS",
    "Columns",
    "Content",
    "Corpus",
    "DataError",
    "Encoding",
    "Example",
    "Fault",
    "Frequency",
    "Kind",
    "Labelled",
    "Manner",
    "Panel",
    "Reading",
    "Sequences",
    "Sieve",
    "Table",
    "Tokens",
    "Told",
    "UnknownCharset",
    "Windows",
    "build_corpus",
    "build_encoding",
    "build_labelled",
    "build_panel",
    "builtin_text",
    "chunks",
    "content_of",
    "digests_so_far",
    "encode_files",
    "encoding_from",
    "evaluation_windows",
    "examples",
    "files",
    "fingerprint",
    "known_charset",
    "label_of",
    "lines",
    "read_table",
    "reading_as",
    "recordings",
    "tokens_of",
    "untold",
    "within",
]
