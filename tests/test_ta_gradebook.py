"""A class of 40 as platforms deliver it, through all that a TA does with it: nobody is lost, nobody is zeroed."""

import contextlib
import csv
import errno
import random
import shutil
import subprocess
import sys
import time
import zipfile
from threading import Thread

import numpy as np
import pytest
from conftest import ROOT
from exports import FakeGrading, FakeSandbox, blackboard, canvas, gradescope, hand_in, moodle, write, zipped

from data_utils import load_split
from lab.cli import LabError
from lab.files import read_sealed, write_sealed
from lab.tasks import TASKS
from ta.gradebook import Gradebook
from ta.grader import ClassGrader
from ta.hidden import load_hidden
from ta.report import describe_student
from ta.submissions import assign_ids, find_students, fold
from ta.version import BUT_NOT_ON, DEPENDS_ON, grader_version

FIRST = ("Anna", "Björn", "Chloé", "Dmitri", "Émile", "Fatima", "Grace", "Hüseyin", "Ines", "Jürgen")
LAST = ("Schmidt", "O'Neil", "van der Berg", "Łukasz")


@pytest.fixture
def grading(monkeypatch, lab_ta, tmp_path):
    """grading("class", "--out", ...) runs `python -m ta grade` with a stand-in for the grading of one student; it
    returns exit code, what was printed, and errors. tmp_path holds two test sets, a.npz and b.npz."""
    images, labels = load_split(ROOT / "dataset" / "valid.npz")
    for number, name in enumerate(("a", "b")):
        np.savez_compressed(
            tmp_path / f"{name}.npz", images=images[number : number + 20], labels=labels[number : number + 20]
        )
    monkeypatch.setattr("ta.grader.Grading", FakeGrading)
    monkeypatch.setattr("ta.grade_class.choose_sandbox", FakeSandbox)
    monkeypatch.setattr("ta.report.draw_charts", lambda students: [])  # half of the time otherwise
    monkeypatch.setattr(FakeGrading, "graded", [])
    monkeypatch.setattr(FakeGrading, "stop_after", None)
    monkeypatch.setattr(FakeGrading, "factor", {})

    def run(submissions, *arguments, test_data="a.npz", ok=True):
        FakeGrading.graded.clear()
        result = lab_ta("grade", tmp_path / submissions, "--test_data", tmp_path / test_data, *arguments)
        assert not ok or result[0] == 0, result[2]
        return result

    return run


def read(path):
    with open(path, newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def people():
    """Return 40 (first name, last name, number, e-mail address); two of them have the same name."""
    names = [(first, last) for first in FIRST for last in LAST]
    names[7] = names[3]
    return [(*name, f"00{number}", f"s{number}@uni.example") for number, name in enumerate(names, start=100)]


def make_class(folder, points):
    """Write the submissions of people() as four platforms deliver them; the last two hand in nothing.

    points: [n] that each submission is worth in each task. Returns {number: points of both tasks}.
    """
    worth = {}
    exported = []
    for index, (first, last, number, email) in enumerate(people()[:-2]):
        files, both = hand_in(points[index]), 2
        if index % 10 == 1:
            files, both = hand_in(points[index], "Genwithlabel.pth"), 1
        if index % 10 == 2:
            files = {"work/" + name: content for name, content in files.items()}
        if index % 10 == 3:
            files = {name.replace("submission.py", "Submission (1).py.txt"): content for name, content in files.items()}
        if index % 10 == 4:
            files = {"handin.zip": zipped({"inner.zip": zipped(files)})}
        if index % 10 == 5:
            files = {name.replace(".pth", "/best.pth"): content for name, content in files.items()}
        if index % 10 == 6:
            files, both = {"lab.ipynb": b"{}", "work.rar": b"Rar!"}, 0
        worth[number] = both * points[index] + (50 if both else 0)
        match index // 10:
            case 0:
                moodle(folder, f"{first} {last}", 5000 + index, files, end="_" if index % 2 else "")
            case 1:
                loose = {name.removeprefix("work/").replace("/", "_"): content for name, content in files.items()}
                canvas(folder, f"{last}, {first}", 7000 + index, 900 + 10 * index, loose, late=index % 2 == 0)
            case 2:
                exported.append((index, f"{first} {last}", number, email, files))
            case 3:
                loose = {"handin.zip": zipped(files)}
                blackboard(folder, f"{first} {last}", f"login{index}", "2025-01-05-09-00-00", {"handin.zip": b"old"})
                blackboard(folder, f"{first} {last}", f"login{index}", "2025-01-06-10-00-00", loose)
    gradescope(folder, exported)
    write(folder, {"notes.txt": b"", "dora.rar": b"Rar!", ".DS_Store": b"", "a.npz": b""})
    return worth


def write_roster(path):
    """Write the class as a German Moodle's export of grades, in Windows-1252."""
    lines = ["Vorname;Nachname;ID-Nummer;E-Mail-Adresse;total;Gruppe"]
    lines += [f"{first};{last.replace('Ł', 'L')};{number};{email};12;=A" for first, last, number, email in people()]
    path.write_bytes("\r\n".join(lines).encode("cp1252"))


def write_match(path):
    """Settle whose submissions the names do not tell: Windows-1252 has no Ł, and two have one name."""
    lines = ["submission;student", "Anna Łukasz_5003;00103", "Anna Łukasz_5007;00107"]
    lines += [f"łukasz{fold(FIRST[index // 4])}_{7000 + index};00{100 + index}" for index in (11, 15, 19)]
    lines += ["login31;00131", "login35;00135"]
    path.write_text("\n".join(lines), encoding="utf-16")


def test_a_class_of_40_through_everything_that_a_ta_does_with_it(grading, lab_ta, tmp_path):
    points = [1 + index / 10 for index in range(40)]
    worth = make_class(tmp_path / "class", points)
    write_roster(tmp_path / "class" / "roster.csv")
    write_match(tmp_path / "match.csv")
    out = tmp_path / "class" / "grades"
    tables = ("--roster", tmp_path / "class" / "roster.csv", "--match", tmp_path / "match.csv")

    def check(given=None):
        """Everybody has exactly one row with the right name and the right points."""
        rows = {row["number"]: row for row in read(out / "grades_full.csv")}
        assert sorted(rows) == sorted(number for _, _, number, _ in people())
        for first, last, number, _ in people():
            assert rows[number]["name"] == f"{first} {last.replace('Ł', 'L')}"
            expected = (worth if given is None else given).get(number, 0)
            lab = float(rows[number]["lab"] or "nan")
            assert lab == pytest.approx(np.nan if expected is None else expected, nan_ok=True), rows[number]
        assert len({fold(row["id"]) for row in rows.values()}) == 40
        assert len(list((out / "feedback").iterdir())) == 40
        return rows

    # A dry run, first without and then with what settles the names.
    code, printed, _ = grading("class", "--list", *tables[:2])
    assert code == 0 and not FakeGrading.graded and not out.exists()
    assert "Submission (1).py.txt was taken for submission.py" in printed and "a .rar is not opened" in printed
    assert "31 of 40 rows of the roster have a submission" in printed
    assert "Submissions without a row, for --match FILE to settle: Anna Łukasz_5003" in printed
    code, printed, _ = grading("class", "--list", *tables)
    assert "Rows without a submission: 00138, 00139\n" in printed and "settle" not in printed

    # Stopped and continued.
    FakeGrading.stop_after = 10
    code, printed, _ = grading("class", "--out", out, *tables, ok=False)
    graded = set(FakeGrading.graded)
    assert code == 130 and "stopped: 10 of 38 students are done; the same command continues" in printed
    assert sum(row["status"] == "not_graded" for row in read(out / "grades.csv")) == 28
    assert "28 not_graded" in (out / "report.html").read_text()
    FakeGrading.stop_after = None
    grading("class", "--out", out)
    assert len(FakeGrading.graded) == 28 and not graded & set(FakeGrading.graded)
    rows = check()
    assert {row["status"] for row in rows.values()} == {"ok", "incomplete", "unusable", "missing"}
    assert (
        rows["00116"]["late"] == "late" and rows["00100"]["Gruppe"] == "'=A" and rows["00100"]["roster total"] == "12"
    )
    ignored = {row["name"]: row["why"] for row in read(out / "ignored.csv")}
    assert {"notes.txt", "dora.rar", "roster.csv", "grades"} <= ignored.keys()
    assert "grades in" in (out / "report.html").read_text()

    # Late work in a folder of its own: one who was absent, a new attempt, and one from another platform.
    moodle(tmp_path / "late", "Jürgen van der Berg", 5838, hand_in(9))
    moodle(tmp_path / "late", "Anna Schmidt", 5000, hand_in(8))
    write(tmp_path / "late", {f"Chloé van der Berg/{name}": content for name, content in hand_in(7).items()})
    worth |= {"00138": 68, "00100": 66, "00110": 64}
    grading("late", "--out", out)
    assert len(FakeGrading.graded) == 3
    rows = check()
    assert "handed in earlier" in rows["00100"]["notes"] and "also handed in as" in rows["00110"]["notes"]
    grading("class", "--out", out)
    assert not FakeGrading.graded, "the later attempt counts, whichever folder is given last"
    check()

    # A result deleted, one damaged, a submission gone, another changed.
    (out / "results" / "Björn Schmidt_5004.json").unlink()
    damaged = out / "results" / "login30.json"
    damaged.write_bytes(damaged.read_bytes().replace(b"ok", b"Ok", 1))
    shutil.rmtree(tmp_path / "class" / "Chloé O'Neil_5009_assignsubmission_file_")
    write(tmp_path / "class", {"Chloé Schmidt_5008_assignsubmission_file/submission.py": b"# 2\n"})
    lab_ta("report", out)
    check(worth | {"00104": None, "00130": None})
    worth["00108"] = 54
    grading("class", "--out", out)
    assert sorted(FakeGrading.graded) == ["Björn Schmidt_5004", "Chloé Schmidt_5008", "login30"]
    check()
    (out / "gradebook.json").write_bytes(b"{}")
    grading("class", "--out", out, "--only", "login30", "--force")
    assert FakeGrading.graded == ["login30"]
    check()

    # The folders are moved.
    (tmp_path / "class" / "grades").rename(tmp_path / "moved")
    (tmp_path / "class").rename(tmp_path / "class of 2025")
    out = tmp_path / "moved"
    lab_ta("report", out)
    check()
    grading("class of 2025", "--out", out)
    assert not FakeGrading.graded
    check()

    # Points for the theory, and what a person decides.
    lines = ["姓名,理论", 'Björn Schmidt,"35,5"', "Chloé Schmidt,absent", "Fatima Schmidt,", "Nobody Else,3"]
    (tmp_path / "theory.csv").write_bytes("\n".join(lines).encode("gb18030"))
    (out / "overrides.csv").write_text(
        "id,column,value,reason\n00105,VAEwolabel_score,9,seen by hand\n"
        "Björn van der Berg_5006,penalty,5,late\n00139,comment,ill,letter of 3 May\n00101,check_2.3,7.5,half right\n"
    )
    _, _, errors = grading("class of 2025", "--out", out, "--theory", tmp_path / "theory.csv")
    assert (
        "'absent' for Chloé Schmidt is not a number and is left blank" in errors
        and "theory points that match nobody: Nobody" in errors
    )
    worth |= {"00105": 59 + points[5], "00101": worth["00101"] - 7.5}
    rows = check()
    assert (rows["00104"]["theory"], rows["00108"]["theory"], rows["00120"]["theory"]) == ("35.5", "", "")
    assert float(rows["00104"]["total"]) == pytest.approx(worth["00104"] + 35.5)
    assert rows["00139"]["comment"] == "ill" and "seen by hand" in rows["00105"]["overrides"]
    page = (out / "feedback" / f"{rows['00105']['id']}.html").read_text()
    assert "Björn O&#39;Neil" in page and "VAEwolabel_score 9 (seen by hand)" in page
    grading("class of 2025", "--out", out, "--force")
    check()

    # Points as the platforms import them, which then is their own table again.
    code, _, errors = lab_ta("report", out, "--export", "canvas")
    assert code == 0 and "because their ids on canvas are unknown" in errors
    imported = {row["ID"]: row for row in read(out / "canvas.csv")}
    assert imported[""]["Student"] == "Points Possible" and imported[""]["VAE Lab"] == "90.00" and len(imported) == 11
    for index in range(10, 20):
        assert float(imported[str(7000 + index)]["VAE Lab"]) == pytest.approx(worth[f"00{100 + index}"], abs=0.006)
    code, _, errors = lab_ta("report", out, "--export", "moodle")
    assert code == 0 and "wrote" in errors
    imported = {row["Identifier"]: row["Grade"] for row in read(out / "moodle.csv")}
    assert float(imported["Participant 5004"]) == pytest.approx(worth["00104"], abs=0.006) and len(imported) == 11
    with zipfile.ZipFile(out / "moodle_feedback.zip") as archive:
        page = archive.read("Björn Schmidt_5004_assignsubmission_file_/feedback.html").decode()
    assert page == (out / "feedback" / "Björn Schmidt_5004.html").read_text()

    # Another test set.
    code, _, errors = grading("class of 2025", "--out", out, test_data="b.npz", ok=False)
    assert code == 2 and "--regrade_all" in errors and not FakeGrading.graded
    check()
    hidden = load_hidden(tmp_path / "b.npz")
    FakeGrading.factor[hidden.digest] = 0.5
    _, _, errors = grading("class of 2025", "--out", out, "--regrade_all", test_data="b.npz")
    assert "graded on a different test set than most" in errors and str(tmp_path / "late") in errors
    assert "Anna Schmidt_5000" not in FakeGrading.graded, "her newest attempt is not in this folder"
    _, _, errors = grading("late", "--out", out, test_data="b.npz")
    assert sorted(FakeGrading.graded) == ["Anna Schmidt_5000", "Chloé van der Berg", "Jürgen van der Berg_5838"]
    (line,) = [line for line in errors.splitlines() if "a different test set" in line]
    assert ": Chloé O'Neil_5009, from" in line, "her submission is gone; her points stay, and are named"
    rows = {row["number"]: row for row in read(out / "grades_full.csv")}
    assert len(rows) == 40 and rows["00109"]["test_set"] != rows["00100"]["test_set"] == hidden.digest[:16]
    assert (float(rows["00138"]["lab"]), float(rows["00100"]["lab"])) == (59, 58)


@pytest.fixture
def three(grading, tmp_path):
    """The gradebook of ann, bob and carl."""
    for number, name in enumerate(("ann", "bob", "carl"), start=1):
        write(tmp_path / "class", {f"{name}/{file}": content for file, content in hand_in(number).items()})
    grading("class", "--out", tmp_path / "grades")
    return tmp_path / "grades"


def test_two_graders_share_a_class_and_a_killed_one_s_claims_end_with_it(monkeypatch, tmp_path):
    def grade_slowly(self):
        time.sleep(0.2)
        FakeGrading.graded.append(self.id)
        return {task: self.task(task) for task in TASKS}

    monkeypatch.setattr("ta.grader.Grading", FakeGrading)
    monkeypatch.setattr(FakeGrading, "run", grade_slowly)
    monkeypatch.setattr(FakeGrading, "graded", [])
    (tmp_path / "results" / ".claims").mkdir(parents=True)
    for number in range(8):
        write(tmp_path / "class", {f"s{number}/{file}": content for file, content in hand_in(number).items()})
    students, _ = find_students(tmp_path / "class")
    assign_ids(students, {})
    hidden = load_hidden(ROOT / "dataset" / "valid.npz")
    lock = "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.flock(f, 2); print(flush=True); time.sleep(99)"
    command = [sys.executable, "-c", lock, tmp_path / "results" / ".claims" / "s3"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as killed:
        killed.stdout.readline()
        graders = [ClassGrader(hidden, tmp_path / "results", 60, 2**30) for _ in range(2)]
        threads = [Thread(target=one.grade, args=(students, 1, FakeSandbox())) for one in graders]
        for thread in threads:
            thread.start()
        time.sleep(2)
        assert "s3" not in FakeGrading.graded
        killed.kill()
        for thread in threads:
            thread.join()
    assert sorted(FakeGrading.graded) == sorted(student.id for student in students), "each student once"
    assert all(grader.results.keys() == {student.id for student in students} for grader in graders)
    assert not list((tmp_path / "results" / ".claims").iterdir())


def test_what_could_come_out_otherwise_is_graded_again_and_what_is_better_stays(grading, three, tmp_path, monkeypatch):
    grading("class", "--out", three)
    assert not FakeGrading.graded
    result = read_sealed(three / "results" / "ann.json")
    result["tasks"]["VAEwolabel"]["checks"][0] |= {"status": "memory", "points": 0}
    write_sealed(three / "results" / "ann.json", result)
    grading("class", "--out", three)
    assert not FakeGrading.graded
    _, _, errors = grading("class", "--out", three, "--memory", "8G")
    assert FakeGrading.graded == ["ann"], "a check ran out of memory"
    assert "bob was graded with 120 s and 4 GB per step" in errors
    result["tasks"]["VAEwolabel"]["completion"] = None
    write_sealed(three / "results" / "ann.json", result | {"limits": {"timeout": 120, "memory": 2**33}})
    grading("class", "--out", three, "--memory", "8G")
    assert FakeGrading.graded == ["ann"], "its points were unknown"

    def full(path, **arrays):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("numpy.savez_compressed", full)
    code, _, errors = grading("class", "--out", three, "--force", ok=False)
    assert code == 2 and f"No space left on device: '{three / 'results' / 'ann.npz'}'" in errors
    assert [row["status"] for row in read(three / "grades.csv")] == ["ok"] * 3


def test_the_grader_s_version_changes_with_each_file_that_results_depend_on_and_no_other(tmp_path):
    files = {path for pattern in DEPENDS_ON for path in ROOT.glob(pattern)}
    names = ("ta/report.py", "ta/review.py", "ta/gradebook.py", "ta/table.py", "lab/handin.py", "README.md")
    others = {ROOT / name for name in names}
    assert {ROOT / "dataset" / "classifier.pth", ROOT / "dataset" / "train.npz", ROOT / "ta" / "student.py"} <= files
    for path in files | others:
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes()[:100])
    before = grader_version(tmp_path)
    for path in files | others:
        copy = tmp_path / path.relative_to(ROOT)
        content = copy.read_bytes()
        copy.write_bytes(content + b"#")
        depends = path in files and str(path.relative_to(ROOT)) not in BUT_NOT_ON
        assert (grader_version(tmp_path) != before) == depends, path
        copy.write_bytes(content)


def test_the_grader_s_version_counts_no_code_that_grading_does_not_load():
    """lab/notebook.py once made every class be graded again."""
    code = "import sys, ta.student, ta.steps, ta.collect, ta.sandbox.worker, ta.sandbox.choose; print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    counted = {path for pattern in DEPENDS_ON for path in ROOT.glob(pattern) if path.suffix == ".py"}
    names = {str(path.relative_to(ROOT).with_suffix("")) for path in counted - {ROOT / name for name in BUT_NOT_ON}}
    modules = {name.replace("/", ".").removesuffix(".__init__") for name in names}
    assert modules - set(ended.stdout.split()) == {"model"}  # checks/causes.py reads it


def test_overrides_are_refused_with_their_row_and_a_grades_csv_edited_by_hand_is_kept(grading, three, lab_ta):
    overrides = three / "overrides.csv"
    for line, said in (
        ("ane,lab,3,x", "row 2: expected the id of one student, got 'ane'; did you mean 'ann'?"),
        (
            "ann,VAEwolabel_scor,3,x",
            "row 2: no column 'VAEwolabel_scor' can be changed; did you mean 'VAEwolabel_score'",
        ),
        ("ann,lab,91,x", "row 2: expected points from 0 to 90 for lab, got '91'"),
        ("ann,theory,much,x", "row 2: expected points from 0 to 40 for theory, got 'much'"),
    ):
        overrides.write_text(f"id,column,value,reason\n{line}\n")
        code, _, errors = grading("class", "--out", three, ok=False)
        assert code == 2 and f"{overrides}, {said}" in errors and not FakeGrading.graded
    overrides.write_text('id;column;value;reason\nann;lab;"70,5";x\nann;penalty;1;late\nbob;total;99;y\n')
    table = three / "grades.csv"
    table.write_text(table.read_text() + "by hand\n")
    _, _, errors = lab_ta("report", three)
    (kept,) = three.glob("grades.edited*.csv")
    assert "grades.csv was edited by hand" in errors and kept.read_text().endswith("by hand\n")
    ann, bob, _ = read(three / "grades.csv")
    assert (ann["lab"], ann["penalty"], bob["total"]) == ("69.50", "1.00", "99.00")
    lab_ta("report", three)
    assert len(list(three.glob("grades.edited*.csv"))) == 1


def test_tables_are_replaced_and_what_changed_is_said(grading, three, tmp_path):
    (tmp_path / "roster.csv").write_text("学号,姓名,theory,total\n0017,ann,5,6\n0018,bob,7,8\n")
    _, _, errors = grading("class", "--out", three, "--roster", tmp_path / "roster.csv")
    assert "UTF-8, separated by comma, 2 students" in errors
    assert "the roster's column 'theory' is called 'roster theory' in grades.csv" in errors
    rows = {row["id"]: row for row in read(three / "grades.csv")}
    assert (rows["ann"]["number"], rows["ann"]["学号"], rows["ann"]["roster total"]) == ('="0017"', '="0017"', "6")
    assert rows["carl"]["number"] == "" and rows["carl"]["lab"] == "56.00"
    (tmp_path / "roster.csv").write_text("学号,姓名,theory,total\n0017,ann,5,7\n0019,carl,,\n")
    _, _, errors = grading("class", "--out", three, "--roster", tmp_path / "roster.csv")
    assert "roster: 1 new (0019), 1 gone (0018), 1 changed (0017)" in errors
    rows = {row["id"]: row for row in read(three / "grades.csv")}
    assert set(rows) == {"ann", "bob", "carl"} and rows["bob"]["lab"] == "54.00"
    assert [row["column"] for row in read(three / "max_points.csv")][:2] == [
        "VAEwolabel_completion",
        "VAEwolabel_score",
    ]
    (tmp_path / "match.csv").write_text("folder,number\nbob,0017\n")
    _, _, errors = grading("class", "--out", three, "--match", tmp_path / "match.csv")
    assert {row["id"]: row["number"] for row in read(three / "grades_full.csv")} == {
        "ann": "",
        "bob": "0017",
        "carl": "0019",
    }
    (tmp_path / "match.csv").write_text("folder,number\nbob,0017\nzoe,0019\n")
    code, _, errors = grading("class", "--out", three, "--match", tmp_path / "match.csv", ok=False)
    assert code == 2 and "match.csv, row 3: expected a submission and a person on the roster, got zoe, 0019" in errors


def test_wrong_calls_are_refused_in_plain_words(grading, three, lab_ta, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    moodle(tmp_path / "class", "Anna Schmidt", 17, hand_in(1))
    hidden = tmp_path / "no.npz"
    for arguments, said in (
        (("--out", tmp_path / "file"), f"--out {tmp_path / 'file'}: expected a folder that can be written"),
        (("--out", tmp_path / "class"), "is the folder of the submissions"),
        (("--out", tmp_path / "class" / "mine" / "g"), f"lies in {tmp_path / 'class' / 'mine'}, which would count as"),
        (("--out", three, "--test_data", tmp_path), f"{tmp_path} is a folder: expected an npz file."),
        (
            ("--out", three, "--test_data", hidden),
            f"{hidden} does not exist: python -m ta hidden --seed SECRET --out {hidden}",
        ),
        (
            ("--out", three, "--only", "Anna Schmidt"),
            "there is no submission with this id; did you mean 'Anna Schmidt_17'?",
        ),
        ((), "--out is missing: python -m ta grade SUBMISSIONS --data hidden.npz --out grades/"),
    ):
        code, _, errors = grading("class", *arguments, ok=False)
        assert code == 2 and said in errors
    monkeypatch.setenv("PATH", "")
    code, _, errors = grading("class", "--out", three, "--slurm", ok=False)
    assert code == 2 and "--slurm needs sbatch: run this where jobs are submitted, or " in errors


def test_of_1000_damaged_results_pictures_and_memories_each_is_noticed(three, tmp_path, monkeypatch):
    rng = random.Random(0)
    path = three / "results" / "ann.json"
    content, whole = path.read_bytes(), read_sealed(path)
    for _ in range(1000):
        damaged = bytearray(content)
        damaged[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        assert read_sealed(path) in (None, whole), "what is read is what was written: 1E-05 for 1e-05, or nothing"
    path.write_bytes(content)
    gradebook, pictures = Gradebook(three), three / "results" / "ann.npz"
    (row,) = [row for row in gradebook.rows() if row.id == "ann"]
    content = pictures.read_bytes()
    hidden = (tmp_path / "a.npz").read_bytes()
    for _ in range(1000):
        damaged = bytearray(content)
        damaged[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        pictures.write_bytes(damaged)
        describe_student(row, three / "results", "", [])
        damaged = bytearray(hidden)
        damaged[rng.randrange(len(hidden))] ^= 1 << rng.randrange(8)
        (tmp_path / "a.npz").write_bytes(damaged)
        with contextlib.suppress(LabError):
            load_hidden(tmp_path / "a.npz")
    content = b"id,column,value,reason\nann,lab,3,because\n"
    for _ in range(1000):
        damaged = bytearray(content)
        damaged[rng.randrange(len(content))] = rng.randrange(256)
        (three / "overrides.csv").write_bytes(damaged)
        with contextlib.suppress(LabError):
            gradebook.add_overrides([row])
