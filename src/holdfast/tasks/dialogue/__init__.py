"""Dialogue: what was said before in, a reply out."""

from .options import ChatOptions
from .run import ChatRun, Conversation, Manners
from .task import Chat, fit

__all__ = ["Chat", "ChatOptions", "ChatRun", "Conversation", "Manners", "fit"]
