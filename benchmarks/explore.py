"""How many decoded pictures explore.py shows per second while the pointer moves, and the time to its first paint.

    python -m benchmarks.explore

Measured with the reference's convolutional GenModel, untrained, because speed does not depend on the weights. Browser
and server share this machine. The pointer moves once per frame of the browser.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from lab.cli import ROOT, run_command
from lab.contract import build_model, load_submission

REFERENCE = ROOT / "ta" / "reference" / "submission.py"
TASK, LATENT_DIM = "Genwithlabel", 20
SECONDS = 5
MOVE_POINTER = """async seconds => {
  const canvas = byId("map"), box = canvas.getBoundingClientRect(), start = performance.now(), before = state.decoded;
  const now = () => (performance.now() - start) / 1000;
  while (now() < seconds) {
    const clientX = box.left + box.width * (0.5 + 0.3 * Math.cos(2 * now()));
    const clientY = box.top + box.height * (0.5 + 0.3 * Math.sin(3 * now()));
    canvas.dispatchEvent(new PointerEvent("pointermove", { clientX, clientY }));
    await new Promise(requestAnimationFrame);
  }
  return (state.decoded - before) / now();
}"""


def measure(folder):
    """Return pictures per second, and seconds from the request for the page to the map and the first picture."""
    from playwright.sync_api import sync_playwright

    (folder / "submission.py").write_bytes(REFERENCE.read_bytes())
    model = build_model(load_submission(REFERENCE), TASK, LATENT_DIM)
    content = {"model_state_dict": model.state_dict(), "task": TASK, "latent_dim": LATENT_DIM}
    torch.save(content, folder / "best.pth")
    command = [sys.executable, ROOT / "explore.py", "--checkpoint_path", folder / "best.pth", "--no_browser"]
    server = subprocess.Popen([*command, "--port", "0"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        address = next(found[0] for line in server.stdout if (found := re.search(r"http://\S+", line)))
        with sync_playwright() as playwright:
            options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=options)
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            start = time.perf_counter()
            page.goto(address)
            while not page.evaluate("map.x.length > 0 && state.decoded > 0"):
                page.wait_for_timeout(5)
            first_paint = time.perf_counter() - start
            page.wait_for_timeout(1000)
            rate = page.evaluate(MOVE_POINTER, SECONDS)
            browser.close()
    finally:
        server.terminate()
        server.wait()
    return rate, first_paint


def bench():
    """Return two measurements, as a list of {name, value, bar, passed}."""
    with TemporaryDirectory() as folder:
        rate, first_paint = measure(Path(folder))
    name = "explore.py with the reference's GenModel"
    return [
        {"name": f"{name}: pictures per second under the pointer", "value": rate, "bar": 30, "passed": rate >= 30},
        {"name": f"{name}: seconds to the first paint", "value": first_paint, "bar": 2, "passed": first_paint <= 2},
    ]


def main():
    for row in bench():
        print(f"{row['name']:<88}{row['value']:>10.3g}{row['bar']:>10.3g}  {'ok' if row['passed'] else 'MISSED'}")
    if hasattr(os, "getloadavg"):
        print(f"load in the last minute, this measurement included: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    run_command(main)
