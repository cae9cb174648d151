"""The page in headless Chromium, where there is one: it opens, and asks for nothing."""

import json
import shutil
import subprocess

import pytest
from PIL import Image
from report_stage import results_folder

from napari_defectstrain.output.report import write_report

NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((found for found in map(shutil.which, NAMES) if found), "")
OF_BROWSER = ("update", "clients2", "accounts", "redirector", "optimizationguide-pa", "edgedl")
"""What it asks of its maker by itself begins with these names of machines."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not BROWSER, reason="needs Chromium"),
]


def opened(page, *options):
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    command = [BROWSER, *flags, f"--user-data-dir={page.parent / 'profile'}", *options]
    done = subprocess.run([*command, page.as_uri()], capture_output=True, timeout=240)
    return done.stdout.decode("utf-8", errors="replace")


def asked_for(page, log):
    """Addresses that were asked for while a page opened, and the page as it stood then."""
    document = opened(page, f"--log-net-log={log}", "--dump-dom")
    events = json.loads(log.read_text())["events"]
    urls = {event.get("params", {}).get("url", "") for event in events}
    urls = {url for url in urls if url.startswith(("http:", "https:", "ws:", "ftp:"))}
    return {url for url in urls if not url.split("//")[1].startswith(OF_BROWSER)}, document


def test_the_page_opens_and_nothing_is_asked_for(tmp_path):
    page = write_report(results_folder(tmp_path / "run"), tmp_path / "report.html")
    asked, document = asked_for(page, tmp_path / "net.json")
    assert document.count("<figure") == 5
    assert asked == set()
    # what would leave another page is seen
    page.write_text('<!DOCTYPE html><title>a</title><img src="http://127.0.0.1:9/a.png" alt="a">')
    assert asked_for(page, tmp_path / "net.json")[0] == {"http://127.0.0.1:9/a.png"}


def test_it_is_drawn(tmp_path):
    page = write_report(results_folder(tmp_path / "run"), tmp_path / "report.html")
    shot = tmp_path / "shot.png"
    opened(page, "--window-size=1200,900", "--hide-scrollbars", f"--screenshot={shot}")
    with Image.open(shot) as picture:
        assert picture.size == (1200, 900)
        assert len(set(picture.convert("L").resize((60, 45)).tobytes())) > 10  # not blank
