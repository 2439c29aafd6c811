"""The browser of the gallery's tests, for the pictures of the README."""

from tests.gallery.conftest import chromium as chromium
from tests.gallery.conftest import page as page
