"""What listens on a port: the microscope's page."""

from .app import look_app
from .file import html_file
from .server import listen, serve
from .view import MOST_STEPS, View

__all__ = ["MOST_STEPS", "View", "html_file", "listen", "look_app", "serve"]
