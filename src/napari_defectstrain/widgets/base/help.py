"""The *?* of a widget: its page of the documentation, with or without the network.

Pages are named as in docs/: ``widgets.md#detect-defects``. The built site is opened in the browser
where it lies beside the package; else the text of the page is shown in a window; else the browser
is sent to the address of the documentation that the package's metadata names.
"""

import re
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from napari.utils.notifications import show_info
from qtpy.QtCore import Qt, QUrl
from qtpy.QtGui import QDesktopServices, QTextCursor
from qtpy.QtWidgets import QDialog, QTextBrowser, QToolButton, QVBoxLayout, QWidget

from .texts import tr

_PACKAGE = Path(__file__).resolve().parents[2]
_SOURCE = _PACKAGE.parents[1]
"""Of the repository, where the package is used from there."""
_DISTRIBUTION = "napari-defectstrain"
_WIDTH, _HEIGHT = 720, 640


def help_button(page: str) -> QToolButton:
    """A small *?* that opens a page.

    Parameters
    ----------
    page : str
        File in docs/, with or without ``#`` and the name of a heading as its link has it.
    """
    button = QToolButton()
    button.setText("?")
    button.setObjectName("help")
    button.setProperty("page", page)
    button.setToolTip(tr("Explain this: open its page of the documentation"))
    button.setAccessibleName(tr("Help"))
    button.clicked.connect(lambda: open_page(page, button))
    return button


def open_page(page: str, parent: QWidget | None = None) -> None:
    """Show a page in the browser or, where only its text is there, in a window."""
    built = built_page(page)
    if built is not None:
        QDesktopServices.openUrl(built)
        return
    text = text_of(page)
    if text is not None:
        PageWindow(page, parent).show()
        return
    address = address_of(page)
    if address is None:
        show_info(tr("The documentation was not installed along: see {page}").format(page=page))
    else:
        QDesktopServices.openUrl(QUrl(address))


def built_page(page: str) -> QUrl | None:
    """The page in the built site, where it lies beside the package."""
    name, _, heading = page.partition("#")
    path = _SOURCE / "site" / Path(name).with_suffix(".html")
    if not (_is_source() and path.is_file()):
        return None
    url = QUrl.fromLocalFile(str(path))
    url.setFragment(heading)
    return url


def text_of(page: str) -> str | None:
    """The text of the page, Markdown; None where it wasn't installed along."""
    name = page.partition("#")[0]
    places = [_PACKAGE / "docs", *([_SOURCE / "docs"] if _is_source() else [])]
    path = next((p / name for p in places if (p / name).is_file()), None)
    return None if path is None else path.read_text(encoding="utf-8")


def address_of(page: str) -> str | None:
    """The page's address by the package's metadata; None where they name none."""
    try:
        named = metadata(_DISTRIBUTION).get_all("Project-URL") or []
    except PackageNotFoundError:
        return None
    pairs = [entry.partition(",")[::2] for entry in named]
    start = next((url.strip() for label, url in pairs if label.lower() == "documentation"), None)
    name, _, heading = page.partition("#")
    stem = name.removesuffix(".md")
    return start and f"{start.rstrip('/')}/{stem}.html{'#' if heading else ''}{heading}"


def heading_link(heading: str) -> str:
    """How a heading is named in a link.

    >>> heading_link("Studies: leave it on Friday, go on on Monday")
    'studies-leave-it-on-friday-go-on-on-monday'
    """
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())


class PageWindow(QDialog):
    """The text of a page; links lead on, and back.

    Parameters
    ----------
    page : str
        As in `help_button`.
    """

    def __init__(self, page: str, parent: QWidget | None = None) -> None:
        super().__init__(None if parent is None else parent.window())
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.resize(_WIDTH, _HEIGHT)
        self.text = QTextBrowser()
        self.text.setOpenLinks(False)
        self.text.anchorClicked.connect(lambda url: self.follow(url.toString()))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.text)
        self.page = ""
        self.show_page(page)

    def follow(self, link: str) -> None:
        """Go where a link of the page leads."""
        if "://" in link:
            QDesktopServices.openUrl(QUrl(link))
        else:
            self.show_page(self.page.partition("#")[0] + link if link.startswith("#") else link)

    def show_page(self, page: str) -> None:
        """Show a page from the heading on that is named."""
        text = text_of(page)
        if text is None:
            return
        self.page = page
        self.setWindowTitle(page.partition("#")[0])
        # Pictures are of the site; without their files there would be holes.
        self.text.setMarkdown(re.sub(r"!\[([^\]]*)\]\([^)]*\)", "", text))
        heading = page.partition("#")[2]
        block = self.text.document().begin()
        while block.isValid():
            if block.blockFormat().headingLevel() and heading_link(block.text()) == heading:
                self.text.moveCursor(QTextCursor.MoveOperation.End)  # so that it goes to the top
                self.text.setTextCursor(QTextCursor(block))
                return
            block = block.next()


def _is_source() -> bool:
    return (_SOURCE / "mkdocs.yml").is_file()
