"""From text files to a stream of tokens, and from there to batches."""

from .corpus import Corpus, Tokens, build_corpus, encode_files
from .encodings import LEVELS, Encoding, build_encoding, encoding_from
from .sources import BUILTIN, DataError, Told, builtin_text, chunks, files, lines, untold
from .windows import Windows, evaluation_windows

__all__ = [
    "BUILTIN",
    "LEVELS",
    "Corpus",
    "DataError",
    "Encoding",
    "Tokens",
    "Told",
    "Windows",
    "build_corpus",
    "build_encoding",
    "builtin_text",
    "chunks",
    "encode_files",
    "encoding_from",
    "evaluation_windows",
    "files",
    "lines",
    "untold",
]
