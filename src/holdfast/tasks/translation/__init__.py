"""Translation: a text in one language or form in, the same in another out."""

from .options import TranslateOptions
from .run import TranslateRun, Translation, Translator
from .task import Translate, fit

__all__ = ["Translate", "TranslateOptions", "TranslateRun", "Translation", "Translator", "fit"]
