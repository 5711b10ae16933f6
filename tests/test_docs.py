"""The texts of the lab: links and pictures exist, both handouts agree, points add up, and code that is named is there.

The students' package has texts of its own, which are tested there.
"""

import ast
import re

import pytest
from conftest import ROOT

SKIPPED = {".venv", "runs", "dist", ".git", ".pytest_cache", ".ruff_cache", "node_modules"}
TEXTS = sorted(
    path for path in ROOT.rglob("*.md") if not SKIPPED & set(path.relative_to(ROOT).parts) and path.is_file()
)
HANDOUTS = [ROOT / "handout.md", ROOT / "handout.zh.md"]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)|<img[^>]*src=\"([^\"]+)\"")
POINTS = re.compile(r"[(（]([\d+ ]+) ?(?:points|分)[)）]")
TASK = re.compile(r"^\*\*(?:Task|任务) ([\d.]+(?: [A-Z])?)(.*?)\*\*", re.MULTILINE)
CODE = re.compile(r"`(\w+\.py): ([\w.]+)`")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TOTALS = {"0": [30], "1": [10], "2": [30, 10], "3": [20, 30]}  # section → points, as the lab was set


def name(path):
    return str(path.relative_to(ROOT))


def read(path):
    """Return a text without its fenced code."""
    return FENCE.sub("", path.read_text(encoding="utf-8"))


def points_of(text):
    """Return the points that stand in a heading or a task, as a list: "(30 + 10 points)" is [30, 10]."""
    found = POINTS.search(text)
    return [int(number) for number in found[1].split("+")] if found else []


def headings(path):
    """Return (level, section number or "", points) of each heading."""
    found = re.findall(r"^(#+) (.*)$", read(path), re.MULTILINE)
    return [(len(marks), (re.match(r"\d+(?:\.\d+)*", title) or [""])[0], points_of(title)) for marks, title in found]


def tasks(path):
    """Return {number of a task: its points}."""
    return {number: points_of(rest) for number, rest in TASK.findall(read(path))}


@pytest.mark.parametrize("path", TEXTS, ids=name)
def test_every_link_and_every_picture_exists(path):
    for target in (a or b for a, b in LINK.findall(read(path))):
        if re.match(r"[a-z]+:", target) or target.startswith("#"):
            continue
        wanted = (path.parent / target.partition("#")[0]).resolve()
        assert wanted.exists(), f"{name(path)} links to {target}, which does not exist"


@pytest.mark.parametrize("path", HANDOUTS, ids=name)
def test_the_handouts_link_to_nothing_that_students_lack(path):
    assert not re.search(r"\]\((ta|experiments(?!/README\.md|/figs)|\.ci)\b|test\.npz\)", read(path))


def test_both_handouts_have_the_same_headings_tasks_and_points():
    english, chinese = HANDOUTS
    assert headings(english) == headings(chinese)
    assert tasks(english) == tasks(chinese)


def test_both_handouts_have_the_same_commands_formulas_pictures_and_code():
    for pattern in (FENCE, re.compile(r"^\$\$\n(.*?)^\$\$$", re.MULTILINE | re.DOTALL), LINK, CODE):
        found = [pattern.findall(path.read_text(encoding="utf-8")) for path in HANDOUTS]
        if pattern is LINK:  # each also links to the other
            found = [[link for link in links if "handout" not in link[0] and "baike" not in link[0]] for links in found]
        assert found[0] == found[1]


def test_both_handouts_have_the_same_numbers_tables_and_folded_answers():
    """A number that is measured again changes in both languages."""
    english, chinese = (re.sub(r"\$[^$]+\$|\]\(http[^)]*\)", "", read(path)) for path in HANDOUTS)
    number = r"(?<![\w.])\d+(?:,\d{3})*(?:\.\d+)+|(?<![\w.])\d+,\d{3}|(?<![\w.])\d{2,}"
    only_one = set(re.findall(number, english)) ^ set(re.findall(number, chinese))
    assert not only_one, f"numbers in one handout only: {only_one}"
    for pattern in (r"^\|", r"^<details>$", r"^</details>$", r"^<a id=.*$"):
        counts = [len(re.findall(pattern, text, re.MULTILINE)) for text in (english, chinese)]
        assert counts[0] == counts[1], pattern


def test_the_total_of_the_points_is_that_of_the_tasks():
    for path in HANDOUTS:
        (total,) = re.findall(r"^\| (?:together|合计) \| \| (\d+) \|$", read(path), re.MULTILINE)
        assert int(total) == sum(sum(points) for points in tasks(path).values())


@pytest.mark.parametrize("path", HANDOUTS, ids=name)
def test_the_points_of_the_tasks_add_up_to_those_of_the_headings(path):
    sections = {number: points for level, number, points in headings(path) if level == 2 and points}
    assert sections == TOTALS
    for number, points in sections.items():
        in_tasks = [sum(most) for task, most in tasks(path).items() if task.startswith(f"{number}.")]
        assert sum(in_tasks) == sum(points), f"section {number}"
    for _, number, points in headings(path):
        if points and "." in number:
            inside = [
                sum(most) for task, most in tasks(path).items() if f"{task} ".startswith((f"{number} ", f"{number}."))
            ]
            assert sum(inside) == sum(points), f"section {number}"


def test_the_points_are_those_that_check_py_gives():
    tasks_module = pytest.importorskip("lab.tasks")
    in_handout = tasks(HANDOUTS[0])
    for number, (section, _) in tasks_module.all_sections().items():
        assert in_handout["3.1" if number == "3" else number] == [section.points], f"section {number}"


@pytest.mark.parametrize("path", HANDOUTS, ids=name)
def test_every_function_that_the_handout_names_exists(path):
    found = CODE.findall(path.read_text(encoding="utf-8"))
    assert len(found) > 10
    for file, function in found:
        node = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        for part in function.split("."):
            inner = [child for child in node.body if getattr(child, "name", None) == part]
            assert inner, f"{file} has no {function}"
            node = inner[0]


@pytest.mark.parametrize("path", HANDOUTS, ids=name)
def test_every_command_that_the_handout_shows_exists_with_its_flags(path):
    text = path.read_text(encoding="utf-8")
    commands = re.findall(r"^(?:\$ )?(?:python|bash) ([\w/.]+\.(?:py|sh))(.*)$", text, re.MULTILINE)
    assert len(commands) > 5
    for file, rest in commands:
        source = (ROOT / file).read_text(encoding="utf-8")
        for flag in re.findall(r"(?<!\S)--\w+", rest.partition("#")[0].partition(" -- ")[0]):
            general = re.sub(r"VAEwolabel|Genwithlabel", "{task}", flag)
            assert f'"{flag}"' in source or general in source or flag in source, f"{file} has no {flag}"


@pytest.mark.parametrize("path", [path for path in TEXTS if "$" in read(path)], ids=name)
def test_github_renders_the_formulas(path):
    """GitHub needs a space before an opening $, also after Chinese punctuation, and eats a backslash before one."""
    text = re.sub(r"^ {4}.*$", "", read(path), flags=re.MULTILINE)  # indented code
    text = re.sub(r"`[^`]*`", "", text)
    blocks = re.findall(r"^\$\$\n(.*?)^\$\$$", text, re.MULTILINE | re.DOTALL)
    text = re.sub(r"^\$\$\n.*?^\$\$$", "", text, flags=re.MULTILINE | re.DOTALL)
    for number, line in enumerate(text.splitlines(), start=1):
        parts = line.split("$")
        assert len(parts) % 2 == 1, f"an open $ in: {line}"
        for before, formula, after in zip(parts[0::2], parts[1::2], parts[2::2], strict=False):
            assert before == "" or before[-1] == " ", f"no space before ${formula}$ (text line {number})"
            assert not after or not after[0].isalnum(), f"a letter follows ${formula}$ (text line {number})"
            assert formula == formula.strip() and formula, f"space inside ${formula}$"
        blocks += parts[1::2]
    for formula in blocks:
        assert not re.search(r"\\[^A-Za-z\s]", formula), f"a backslash that Markdown eats: {formula}"
        assert "\\textbf" not in formula and "<" not in formula and "*" not in formula, formula
        assert formula.count("{") == formula.count("}"), formula
        assert formula.isascii(), formula


def test_every_picture_in_figs_is_shown_somewhere():
    shown = {(path.parent / (a or b)).resolve() for path in TEXTS for a, b in LINK.findall(read(path))}
    unused = [picture.name for picture in (ROOT / "figs").glob("*.png") if picture.resolve() not in shown]
    assert not unused


def test_the_answers_give_the_points_of_the_handout():
    path = ROOT / "ta" / "reference" / "theory.md"
    if not path.is_file():
        pytest.skip("the students' package has no answers")
    wanted = {task: points for task, points in tasks(HANDOUTS[0]).items() if task[0] in "01"}
    found = {}
    for title, body in re.findall(r"^## Task (.*?)\n(.*?)(?=^## |\Z)", read(path), re.MULTILINE | re.DOTALL):
        task = title.partition(" (")[0]
        steps = [int(points) for points in re.findall(r"^\| .*\| (\d+) \|$", body, re.MULTILINE)]
        assert sum(steps) == sum(points_of(title)), f"the steps of task {task}"
        found[task] = points_of(title)
    assert found == wanted
