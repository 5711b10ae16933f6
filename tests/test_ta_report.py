"""The pages of a graded class: what they show and to whom, and that nothing in them is run or fetched."""

import base64
import io
import re

import numpy as np
import pytest
from conftest import ROOT, require_system
from graded_class import make_class
from PIL import Image

from data_utils import load_split
from lab.files import write_sealed
from ta.gradebook import Gradebook
from ta.report import sheet, write_pages

MARKUP = '</script></table><script>pwned = 1</script><img src="http://example.com/x" onerror="pwned = 1">&lt;'
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """A folder with the pages of 30 students, three of whom failed with MARKUP for a message."""
    folder = tmp_path_factory.mktemp("graded")
    images = load_split(ROOT / "dataset" / "valid.npz")[0]
    quoted = MARKUP.replace('"', '""')
    gradebook, results = make_class(folder, images, 30, MARKUP, f'id,name\ns0005,"Eve {quoted}"\nabsent,Zoe\n')
    results["s0010"]["tasks"]["Genwithlabel"] |= {"private": False, "message": "the weights do not fit GenModel"}
    for name in ("s0010", "s0011"):
        write_sealed(folder / "results" / f"{name}.json", results[name] | {"files": {"submission.py": "0" * 64}})
    versions = {"versions": {"python": "3.13.1", "torch": "2.15.0"}}
    for name, torch in (("s0012", "2.6.0"), ("s0013", "2.15.0")):
        versions["trained_with"] = {"python": "3.13.1", "torch": torch}
        write_sealed(folder / "results" / f"{name}.json", results[name] | versions)
    write_pages(gradebook, gradebook.rows())
    return folder


def addresses(page):
    """Return the addresses of a page's pictures."""
    return re.findall(r'<img[^>]*? src="(data:image/[^"]*)"', page)


def test_students_see_their_own_points_and_no_hidden_picture(graded):
    page = (graded / "feedback" / "s0001.html").read_text()
    assert "31.5 of 40 for the theory" in page
    report_pictures = addresses((graded / "report.html").read_text())
    own = addresses(page)
    assert len(own) == 1 and own[0] in report_pictures
    with np.load(graded / "results" / "s0001.npz") as arrays:
        hidden = {array.tobytes() for name in ("originals", "VAEwolabel_recon") for array in coarse(arrays[name])}
        generated = coarse(arrays["generated"][:, :8]).reshape(-1, 28, 28)
    shown = cut(own[0])
    assert np.array_equal(shown, generated)
    assert not hidden & {picture.tobytes() for picture in shown}


def coarse(images):
    """Return pictures with the greys that sheets have."""
    return (np.round(images / 17) * 17).astype(np.uint8)


def cut(address):
    """Return the pictures uint8 [N, 28, 28] of a sheet."""
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))).convert("L"))
    rows, columns = image.shape[0] // 30, image.shape[1] // 30
    tiles = image.reshape(rows, 30, columns, 30).swapaxes(1, 2)[:, :, 1:-1, 1:-1]
    return tiles.reshape(-1, 28, 28)


def test_what_code_said_that_had_seen_hidden_pictures_stays_with_the_staff(graded):
    page = (graded / "feedback" / "s0000.html").read_text()
    assert "python inference.py --task Genwithlabel" in page
    assert page.count("pwned") == 2, "the message of the check, which saw none of them; twice in its text"
    assert (graded / "report.html").read_text().count("pwned") > page.count("pwned")


def test_other_versions_than_those_that_grade_are_marked_for_the_staff(graded):
    (row,) = (row for row in Gradebook(graded).rows() if row.id == "s0012")
    assert (row.own["trained_with"], row.own["graded_with"]) == (
        "python 3.13.1, torch 2.6.0",
        "python 3.13.1, torch 2.15.0",
    )
    said, page = "trained with torch 2.6.0, graded with 2.15.0", (graded / "report.html").read_text()
    assert page.count("trained with") == page.count(said) == 2, "in the table and with the student"
    assert said not in (graded / "feedback" / "s0012.html").read_text()


def test_failures_come_first_and_who_handed_in_nothing_is_there(graded):
    page = (graded / "report.html").read_text()
    names = re.findall(r"<summary><strong>(s\d+)", page)
    assert set(names[:3]) == {"s0000", "s0010", "s0020"} and len(names) == 30
    assert "nothing was handed in" in (graded / "feedback" / "absent.html").read_text()
    assert "31 students: 27 ok, 3 crash, 1 missing" in page


def test_what_was_said_without_hidden_pictures_is_no_secret(graded):
    page = (graded / "feedback" / "s0010.html").read_text()
    assert "the weights do not fit GenModel" in page and "withheld" not in page


def test_identical_submissions_and_who_matched_nobody_are_marked_for_the_staff(graded):
    page = (graded / "report.html").read_text()
    assert "submission.py is identical to that of s0011" in page
    assert "Submissions without a row, for --match FILE to settle: s0000, s0001" in page
    assert "notes.txt in " in page
    assert "identical" not in (graded / "feedback" / "s0010.html").read_text()


def test_pages_survive_a_class_without_results_and_damaged_files(tmp_path, lab_ta):
    (tmp_path / "nobody" / "results").mkdir(parents=True)
    (tmp_path / "nobody" / "roster.csv").write_text("id\nann\n../up\n")
    assert lab_ta("report", tmp_path / "nobody")[0] == 0
    assert {path.suffix for path in (tmp_path / "nobody" / "feedback").iterdir()} == {".html"}
    assert (
        len(list((tmp_path / "nobody" / "feedback").iterdir())) == 2 and not (tmp_path / "nobody" / "up.html").exists()
    )
    gradebook, _ = make_class(tmp_path / "class", np.zeros((16, 28, 28), np.uint8), 4)
    gradebook.register([], tmp_path / "class" / "class", [])
    results = tmp_path / "class" / "results"
    (results / "s0000.npz").write_bytes(b"")
    (results / "s0001.json").write_text('{"id": "s0001", "status": "ok", "tasks": {}}')
    (results / "s0002.json").write_text("5")
    assert lab_ta("report", tmp_path / "class")[0] == 0
    page = (tmp_path / "class" / "report.html").read_text()
    assert "4 students: 2 not_graded, 1 crash, 1 ok" in page and "Ignored" not in page
    assert "its result is damaged" in (tmp_path / "class" / "feedback" / "s0002.html").read_text()


def test_a_sheet_of_noise_is_bounded():
    noise = np.random.default_rng(0).integers(0, 256, (10, 8, 28, 28), np.uint8)
    assert len(sheet(noise)["address"]) < 60_000  # with the reconstructions' 48 pictures, 300 students make < 30 MB


def test_a_folder_without_grades_is_refused(tmp_path, lab_ta):
    code, _, errors = lab_ta("report", tmp_path)
    assert code == 2 and "is not a gradebook: expected the folder" in errors


def test_in_a_browser_the_page_sorts_filters_and_fetches_nothing(graded):
    require_system("chromium")
    from playwright.sync_api import sync_playwright

    pictures = ROOT / "runs" / "report"  # for a person to look at
    pictures.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=options)
        page = browser.new_page(viewport=DESKTOP)
        requests, errors = [], []
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        for path in (graded / "report.html", *sorted((graded / "feedback").glob("s000*.html"))):
            page.goto(path.as_uri())
            assert page.evaluate("typeof pwned") == "undefined"
            assert page.evaluate("[...document.images].every(image => image.src.startsWith('data:'))")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.screenshot(path=pictures / "feedback.png", full_page=True)

        page.goto((graded / "report.html").as_uri())
        rows = page.locator("#class tbody tr")
        assert rows.count() == 31
        assert MARKUP in page.get_by_role("cell", name="Eve").text_content(), "shown as it was written"
        page.get_by_role("button", name=re.compile("^lab")).click()
        page.get_by_role("button", name=re.compile("^lab")).click()
        points = [float(text) for text in page.locator("#class tbody tr td:nth-child(4)").all_text_contents()]
        assert points == sorted(points, reverse=True) and points[0] > points[-1]
        assert page.evaluate("(box => box.scrollWidth <= box.clientWidth)(document.querySelector('.wide'))")
        page.fill("#filter", "eve")
        assert page.locator("#class tbody tr:visible").count() == 1
        page.fill("#filter", "")
        page.select_option("#status", "crash")
        assert page.locator("#class tbody tr:visible").count() == 3
        page.select_option("#status", "")
        page.get_by_role("link", name="s0010").click()
        assert page.locator("details[open] summary").text_content().startswith("s0010")
        for name, size in (("desktop", DESKTOP), ("phone", PHONE)):
            page.set_viewport_size(size)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
            page.evaluate("scrollTo(0, 0)")
            page.screenshot(path=pictures / f"{name}.png", full_page=name == "desktop")
            page.locator("details[open]").screenshot(path=pictures / f"{name}_student.png")
        browser.close()
    assert not errors
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
