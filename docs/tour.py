"""Takes the README's pictures of the UI: `.venv/bin/python docs/tour.py [http://127.0.0.1:3000]`.

It needs a UI that serves a finished `make demo`, Chromium and its ChromeDriver.  Each picture is a
page or a metadata entry of it, waited for until its text is there.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import WebDriverWait

IMAGES = Path(__file__).parent / "images"
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
_WAIT_SECONDS = 180.0
_SETTLE_SECONDS = 8.0


@dataclass(frozen=True)
class Shot:
    """A picture: the page, a text by which it is complete, and the metadata entry to open."""

    name: str
    path: str
    text: str
    entry: str | None = None


SHOTS = (
    Shot(
        "lineage",
        "/assets/production_model?view=lineage&lineageScope=upstream&lineageDepth=3",
        "canary_evaluation",
    ),
    Shot("gates", "/assets/model_evaluation?view=checks", "fold_stability"),
    Shot("canary", "/assets/canary_evaluation", "guardrails", "sequence"),
    Shot("monitoring", "/assets/monitoring_report", "expectation", "expectation"),
    Shot("attribution", "/assets/performance_attribution", "market_move", "waterfall"),
    Shot("records", "/assets/trade_outcomes?view=checks", "Succeeded"),
)


def take(driver: WebDriver, address: str, shot: Shot) -> None:
    """Open a page, wait for it, and store its picture.

    Raises:
        TimeoutException: the page never showed the text or the entry; both are in the message.
    """
    driver.get(address + shot.path)
    wait = WebDriverWait(driver, _WAIT_SECONDS)
    wait.until(
        lambda d: shot.text in d.find_element(By.TAG_NAME, "body").text,
        f"{shot.path}: no {shot.text!r}",
    )
    if shot.entry is not None:
        link = f"//tr[contains(., '{shot.entry}')]//a[contains(@class, 'metadataEntryAction')]"
        found = wait.until(
            lambda d: d.find_elements(By.XPATH, link), f"{shot.path}: no entry {shot.entry!r}"
        )
        driver.execute_script("arguments[0].click()", found[0])
    time.sleep(_SETTLE_SECONDS)
    picture = Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")
    picture.quantize(64).save(IMAGES / f"{shot.name}.png", optimize=True)


def main(address: str) -> None:
    """Take every picture of the tour."""
    IMAGES.mkdir(exist_ok=True)
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in (*_FLAGS, "--window-size=1400,860"):
        options.add_argument(flag)
    with tempfile.TemporaryDirectory() as profile:
        options.add_argument(f"--user-data-dir={profile}")
        # Named, because Selenium would else ask the internet for a Chrome of its own.
        service = webdriver.ChromeService(shutil.which("chromedriver"))
        with webdriver.Chrome(options, service) as driver:
            for shot in SHOTS:
                take(driver, address, shot)
                print(IMAGES / f"{shot.name}.png")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:3000")
