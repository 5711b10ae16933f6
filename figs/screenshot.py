"""Draw figs/explore.png, the README's picture of explore.py, with Chromium and Playwright (requirements-dev.txt).

make demo && python figs/screenshot.py
python figs/screenshot.py --checkpoint_path runs/figs/plane/best.pth --out picture.png
"""

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))

from lab.cli import LabError, Parser, run_command  # noqa: E402

WINDOW = {"width": 1280, "height": 1190}
PICTURE = 0  # of the validation split
SETTLED = "map.x.length > 0 && state.encoded && Object.values(requests).every(request => !request.busy)"


def parse_args():
    parser = Parser(description=__doc__)
    demo = Path("runs/demo/Genwithlabel/best.pth")
    parser.add_argument("--checkpoint_path", type=Path, default=demo, help="the model to show")
    parser.add_argument("--out", type=Path, default=HERE / "explore.png", help="the picture to write")
    return parser.parse_args()


def photograph(address, out):
    """Open the page, encode a picture, go to its code, pin A and B, and take a screenshot."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=options)
        page = browser.new_page(viewport=WINDOW, color_scheme="light")
        page.goto(address)
        while not page.evaluate("map.x.length > 0 && state.decoded > 0"):
            page.wait_for_timeout(50)
        page.evaluate(f"encode({{ index: {PICTURE} }})")
        while not page.evaluate(SETTLED):
            page.wait_for_timeout(50)
        page.evaluate("setCode(state.encoded.code); pin(0); setCode(moved(1.6, 1.2)); pin(1)")
        page.evaluate("setCode(between(0.3)); byId('tiles').click()")
        if page.locator("#labels").is_visible():
            page.locator("#labels input").nth(page.evaluate("state.encoded.label")).check()
        page.wait_for_timeout(1000)
        while not page.evaluate(f"map.tiles && {SETTLED}"):
            page.wait_for_timeout(50)
        page.wait_for_timeout(1000)
        page.screenshot(path=out)
        browser.close()


def main():
    args = parse_args()
    command = [sys.executable, ROOT / "explore.py", "--checkpoint_path", args.checkpoint_path, "--no_browser"]
    server = subprocess.Popen([*command, "--port", "0"], stdout=subprocess.PIPE, text=True)
    try:
        address = next((found[0] for line in server.stdout if (found := re.search(r"http://\S+", line))), None)
        if address is None:
            raise LabError(f"explore.py did not start with {args.checkpoint_path}: see above.")
        photograph(address, args.out)
    finally:
        server.terminate()
        server.wait()
    print(args.out)


if __name__ == "__main__":
    run_command(main)
