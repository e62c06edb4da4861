"""A device in a browser: its page and JavaScript in ``static``, and the QR code of a link that opens it."""

from flare_edge.browser.qr import svg, text

__all__ = ["svg", "text"]
