"""The page of explore.py in a browser, with the reference: what it shows is what the model decodes and encodes."""

import threading
import time
from argparse import Namespace

import numpy as np
import pytest
from conftest import ROOT, require_system

from explorer.answers import Explorer
from explorer.drawing import normalise_drawing
from explorer.server import start_server

PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
GREYS = "c => [...c.getContext('2d').getImageData(0, 0, 28, 28).data].filter((_, i) => i % 4 === 0)"


class Visit:
    """A page in the browser, and what it fetched and complained about. The page's policy forbids Playwright's own
    waiting for an expression, so it is done here."""

    def __init__(self, browser, **options):
        self.page = browser.new_page(**options)
        self.requests, self.errors = [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)

    def wait(self, expression, seconds=60):
        end = time.monotonic() + seconds
        while not (value := self.page.evaluate(expression)):
            assert time.monotonic() < end, f"{expression} is still not true; {self.errors}"
            self.page.wait_for_timeout(20)
        return value

    def load(self, address):
        self.page.goto(address)
        self.wait("map.x.length > 0 && state.decoded > 0")

    def settle(self):
        """Wait until everything that was asked for has arrived, and what is asked for a moment later as well."""
        for _ in range(2):
            self.page.wait_for_timeout(200)
            self.wait("Object.values(requests).every(request => !request.busy)")

    def greys(self, selector):
        """Return the pictures on the canvases that a selector finds, uint8 [N, 28, 28]."""
        found = [canvas.evaluate(GREYS) for canvas in self.page.query_selector_all(selector)]
        return np.array(found, np.uint8).reshape(-1, 28, 28)

    def has_no_barriers(self):
        from axe_playwright_python.sync_playwright import Axe

        results = Axe().run(self.page)
        assert results.violations_count == 0, results.generate_report()
        assert self.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.fixture
def explorer(lab, small, tmp_path):
    """The reference's GenModel after two short epochs."""
    data = ("--train_data", small / "train.npz", "--valid_data", small / "valid.npz")
    options = ("--epochs", 2, "--latent_dim", 6, "--batch_size", 100, "--var", 0.05, "--lr", 4e-3, "--device", "cpu")
    task, run = ("--task", "Genwithlabel"), tmp_path / "run"
    reference = ROOT / "ta" / "reference" / "submission.py"
    assert lab("train.py", *task, "--submission", reference, *options, *data, "--save_dir", run)[0] == 0
    code, out, _ = lab(
        "explore.py", "--checkpoint_path", run / "best.pth", "--data", small / "valid.npz", "--html", "page.html"
    )
    assert code == 0 and "opens with a double click" in out
    args = Namespace(task="Genwithlabel", device="cpu", data=small / "valid.npz")
    paths = Namespace(checkpoint_path=run / "best.pth", submission=run / "submission.py")
    return Explorer(Namespace(**vars(args), **vars(paths)))


def test_in_a_browser_all_seven_parts_show_what_the_model_does(explorer, tmp_path):
    require_system("chromium")
    from playwright.sync_api import sync_playwright

    pictures = ROOT / "runs" / "explore"  # for a person to look at
    pictures.mkdir(parents=True, exist_ok=True)
    server = start_server(explorer, 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=OPTIONS)
            visit = Visit(browser, viewport=DESKTOP, color_scheme="light")
            visit.load(server.address)
            look_around(visit, explorer.snapshot({}))
            draw_digits(visit, explorer.snapshot({}))
            go_from_a_to_b(visit, explorer.snapshot({}))
            go_through_epochs(visit)
            visit.page.screenshot(path=pictures / "desktop_light.png", full_page=True)
            visit.has_no_barriers()
            visit.page.emulate_media(color_scheme="dark")
            visit.has_no_barriers()
            break_and_fix(visit, explorer.args.submission)
            assert not visit.errors and all(url.startswith(server.address) for url in visit.requests)
            visit.page.close()

            phone = Visit(browser, viewport=PHONE, color_scheme="dark", has_touch=True)
            phone.load(server.address)
            phone.page.locator("#pad").tap()
            phone.wait("state.encoded !== null")
            phone.settle()
            phone.has_no_barriers()
            phone.page.screenshot(path=pictures / "phone_dark.png", full_page=True)
            assert not phone.errors
            for scheme, size in (("light", PHONE), ("dark", DESKTOP)):
                read_export(Visit(browser, viewport=size, color_scheme=scheme), tmp_path / "page.html", explorer)
            browser.close()
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def look_around(visit, snapshot):
    """The map, the controls, and one code as ten digits."""
    page = visit.page
    box = page.locator("#map").bounding_box()
    seen = [visit.greys("#picture")[0]]
    for share in ((0.3, 0.4), (0.6, 0.55), (0.5, 0.8)):
        page.mouse.move(box["x"] + share[0] * box["width"], box["y"] + share[1] * box["height"])
        visit.settle()
        seen.append(visit.greys("#picture")[0])
        assert np.array_equal(seen[-1], snapshot.decode([page.evaluate("state.hover")], [0])[0])
    assert len({picture.tobytes() for picture in seen}) == 4
    page.mouse.down()
    page.mouse.up()
    under_pointer = page.evaluate("state.z")
    page.mouse.move(5, 5)
    assert page.evaluate("state.hover") is None and any(under_pointer)
    place = [(2 * 0.5 - 1) * page.evaluate("map.range"), (1 - 2 * 0.8) * page.evaluate("map.range")]
    directions = np.array(page.evaluate("state.info.directions"))
    assert np.allclose(directions[:2] @ under_pointer, place, atol=0.02)
    assert np.allclose(directions[2:] @ under_pointer, 0, atol=1e-6), "the other coordinates keep their value"

    page.locator("#map").press("Shift+ArrowUp")
    assert np.allclose(np.subtract(page.evaluate("state.z"), under_pointer) @ directions.T[:, 0], 0, atol=1e-6)
    page.locator("#sliders input").nth(2).fill("1.5")
    assert abs(directions[2] @ page.evaluate("state.z") - 1.5) < 1e-3
    page.locator("#labels input").nth(0).press("ArrowLeft")  # from 0 to 9
    assert page.evaluate("state.label") == 9
    visit.settle()
    z = page.evaluate("state.z")
    assert np.array_equal(visit.greys("#picture")[0], snapshot.decode([z], [9])[0])
    ten = visit.greys("#ten canvas")
    assert np.array_equal(ten, snapshot.decode([z] * 10, range(10)))
    assert len({picture.tobytes() for picture in ten}) == 10
    page.select_option("#kind", "dim")
    page.click("#draw-prior")
    visit.settle()  # what was asked for before would show tiles of the code before
    page.check("#tiles")
    assert page.evaluate("map.x.length") == 200
    row = visit.wait("map.tiles && [state.z, map.tiles[3][7] !== null, moved(-map.range / 16, 9 * map.range / 16)]")
    tile = page.evaluate(f"({GREYS})(map.tiles[3][7])")
    assert np.array_equal(np.reshape(tile, (28, 28)), snapshot.decode([row[2]], [9])[0])
    page.select_option("#axis-x", "1")  # what goes up so far
    assert page.evaluate("[byId('axis-x').value, byId('axis-y').value]") == ["1", "0"]
    page.click("#to-zero")
    assert not any(page.evaluate("state.z"))


def draw_digits(visit, snapshot):
    """A stroke of the mouse, a picture of the split, and a stroke made by keys."""
    page = visit.page
    page.locator("#pad").scroll_into_view_if_needed()
    box = page.locator("#pad").bounding_box()
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 70, steps=3)
    page.mouse.move(box["x"] + 120, box["y"] + 240, steps=3)
    page.mouse.up()
    visit.wait("state.encoded")
    visit.settle()
    encoded = page.evaluate("state.encoded")
    greys = page.evaluate(
        "[...byId('pad').getContext('2d').getImageData(0, 0, 280, 280).data].filter((_, i) => i % 4 === 0)"
    )
    picture = normalise_drawing(np.reshape(greys, (280, 280)).astype(np.uint8))
    assert np.array_equal(visit.greys("#seen")[0], picture)
    code = snapshot.encode(picture[None], [encoded["label"]])[2]
    assert np.allclose(code, encoded["code"], atol=1e-4)
    shown = visit.greys("#reconstruction, #draws canvas")
    decoded = snapshot.decode([encoded["code"], *encoded["draws"]], [encoded["label"]] * 7)
    assert np.abs(shown.astype(int) - decoded).max() <= 1 and len({draw.tobytes() for draw in shown}) == 7
    assert visit.greys("#styles canvas").shape[0] == 10
    draws = snapshot.draw(picture, encoded["label"], 4000, seed=1) @ np.array(page.evaluate("plane()")).T
    assert np.allclose(np.cov(draws, rowvar=False), encoded["covariance"], atol=0.1 * np.max(encoded["covariance"]))
    page.select_option("#drawn-label", "3")
    visit.wait("state.encoded.label === 3")
    page.click("#again")
    visit.settle()
    assert page.evaluate("state.encoded.draws") != encoded["draws"]
    page.click("#go")
    assert page.evaluate("state.z") == page.evaluate("state.encoded.code")
    page.click("#random")
    visit.settle()
    assert any(np.array_equal(visit.greys("#seen")[0], image) for image in snapshot.images)
    page.click("#clear")
    assert page.locator("#encoded").is_hidden()
    page.locator("#pad").press("Space")
    for _ in range(5):
        page.locator("#pad").press("ArrowDown")
    visit.settle()
    assert page.locator("#encoded").is_visible()


def go_from_a_to_b(visit, snapshot):
    page = visit.page
    for key in "ab":
        page.click("#draw-prior")
        page.locator("#map").press(key)
    visit.settle()
    a, b = np.array(page.evaluate("state.ends"))
    assert not np.allclose(a, b)
    shares = np.linspace(0, 1, 9)[:, None]
    decoded = snapshot.decode((1 - shares) * a + shares * b, [page.evaluate("state.label")] * 9)
    assert np.abs(visit.greys("#line-pictures canvas").astype(int) - decoded).max() <= 1
    page.locator("#share").fill("0.25")
    assert np.allclose(page.evaluate("state.z"), 0.75 * a + 0.25 * b)


def go_through_epochs(visit):
    page = visit.page
    before = page.evaluate("[map.x, byId('bars').innerHTML]")
    assert page.locator("#bars svg").count() == 2 and "6 dimensions active" in page.locator("#bars-text").text_content()
    page.locator("#epoch").fill("0")
    visit.wait("state.checkpoint === 'epoch_1'")
    visit.settle()
    assert page.evaluate("[map.x, byId('bars').innerHTML]") != before
    assert "epoch_1.pth, epoch 1" in page.locator("#names").text_content()
    page.click("#newest")
    visit.wait("state.checkpoint === 'epoch_2'")
    visit.settle()


def break_and_fix(visit, submission):
    """An error of the model is on the page, as check.py words it, until it is fixed and the page reloaded."""
    page, good = visit.page, submission.read_text()
    wrong = good.replace("        z = self.code_mean[labels] + ", "        raise ValueError('mine')\n        z = ")
    assert wrong != good
    submission.write_text(wrong)
    page.reload()
    visit.wait("!byId('error').hidden")
    assert "GenModel.decode failed (submission.py, line" in page.locator("#error").text_content()
    assert str(submission) in page.locator("#names").text_content()
    visit.has_no_barriers()
    submission.write_text(good)
    visit.load(page.url)
    assert page.locator("#error").is_hidden() and str(submission) in page.locator("#names").text_content()


def read_export(visit, path, explorer):
    """The exported page works from its file alone."""
    page = visit.page
    page.goto(path.as_uri())
    visit.wait("state.tiles.length > 0")
    snapshot = explorer.snapshot({})
    box = page.locator("#map").bounding_box()
    page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 0.45 * box["height"])
    directions = np.array(explorer.answer("open", {})["directions"][:2])
    cells = (2 * np.arange(24) + 1) / 24 - 1
    z = page.evaluate("map.range") * np.array([cells[int(24 * 0.4)], -cells[int(24 * 0.45)]]) @ directions
    assert np.array_equal(visit.greys("#picture")[0], snapshot.decode([z], [0])[0])
    page.locator("#labels input").nth(4).check()
    visit.wait("state.label === 4")
    page.wait_for_timeout(200)
    assert page.evaluate("data.sheets.length") == 10 and page.locator("#bars svg").count() == 2
    page.check("#tiles")
    visit.has_no_barriers()
    assert not visit.errors and all(url.startswith(("file:", "data:", "blob:")) for url in visit.requests)
    page.close()
