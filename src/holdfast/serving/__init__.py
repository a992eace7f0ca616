"""What listens on a port: the microscope's page."""

from .app import look_app
from .file import html_file
from .server import serve
from .view import View

__all__ = ["View", "html_file", "look_app", "serve"]
