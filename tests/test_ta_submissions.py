"""Submissions as they come: who handed in what, and which of the files count."""

import io
import json
import os
import random
import re

import pytest
import torch
from exports import FILES, blackboard, canvas, gradescope, hand_in, moodle, write, zipped

from lab.archives import CollectError
from lab.cli import LabError
from ta.collect import collect
from ta.submissions import Student, assign_ids, find_students, fold

WORKS = hand_in(1)


def found(folder, *ours):
    """Return {id: Student} and the names of what is ignored."""
    students, ignored = find_students(folder, ours)
    assign_ids(students, {})
    return {student.id: student for student in students}, {name for name, _ in ignored}


def taken(tmp_path, files):
    """Return {known file: where it was found} of one submission, and what is said of it."""
    write(tmp_path / "one", files)
    collected = collect([("", "", tmp_path / "one")])
    said = collected.notes + [problem for problem in collected.files.values() if problem]
    return {name: str(path) for name, path in collected.sources.items()}, "; ".join(said)


def test_moodle_s_folders_with_and_without_the_last_underscore_and_its_flat_files(tmp_path):
    moodle(tmp_path, "Anna Schmidt", 5001, WORKS)
    moodle(tmp_path, "王小明", 5002, {"handin.zip": zipped(WORKS)}, end="")
    write(tmp_path, {"Jo_5003_assignsubmission_file_submission.py": b"x", "Jo_5003_assignsubmission_file_a.zip": b"y"})
    students, ignored = found(tmp_path)
    assert set(students) == {"Anna Schmidt_5001", "王小明_5002", "Jo_5003"}
    assert students["Jo_5003"].ids == [("participant", "5003")] and students["Jo_5003"].name == "Jo"
    assert {name for _, name, _ in students["Jo_5003"].parts} == {"submission.py", "a.zip"}
    assert students["王小明_5002"].folder == "王小明_5002_assignsubmission_file_"
    assert ignored == {"Anna Schmidt_5001_assignsubmission_onlinetext_", "王小明_5002_assignsubmission_onlinetext"}
    (tmp_path / "downloads").mkdir()
    for path in list(tmp_path.glob("*_*")):
        (tmp_path / "downloads" / "Lab 3").mkdir(exist_ok=True)
        path.rename(tmp_path / "downloads" / "Lab 3" / path.name)
    assert set(found(tmp_path / "downloads")[0]) == set(students), "a download in a folder of its own"


def test_canvas_s_uploads_late_ones_repeated_ones_and_hidden_names(tmp_path):
    canvas(tmp_path, "Schmidt, Anna", 701, 10, WORKS, late=True)
    canvas(tmp_path, "Miller, Bob", 702, 20, {"handin.zip": b"old"})
    canvas(tmp_path, "Miller, Bob", 702, 30, {"handin-1.zip": zipped(WORKS)})
    write(tmp_path, {"anon_ab1cd_40_submission.py": b"x", "LATE_anon_ef2gh_41_submission-2.py": b"x"})
    students, _ = found(tmp_path)
    assert set(students) == {"schmidtanna_701", "millerbob_702", "anon_ab1cd", "anon_ef2gh"}
    assert students["schmidtanna_701"].late and len(students["schmidtanna_701"].parts) == 3
    bob = students["millerbob_702"]
    assert (bob.attempt, bob.late, len(bob.parts)) == ("2", False, 1) and bob.parts[0][1] == "handin.zip"
    assert bob.notes == ["the newest of 2 attempts counts, not millerbob_702_20_handin.zip"]
    assert set(collect(bob.parts).sources) == set(FILES)
    assert students["anon_ef2gh"].late and students["anon_ef2gh"].attempt == "3"


def test_gradescope_s_export_names_the_submitters_of_each_folder(tmp_path):
    gradescope(tmp_path, [(3, "Anna Schmidt", "00123", "a@x.org", WORKS), (4, "Bob", "00124", "b@x.org", WORKS)])
    students, ignored = found(tmp_path)
    assert set(students) == {"Anna Schmidt_00123", "Bob_00124"} and not ignored
    assert students["Bob_00124"].ids == [("number", "00124"), ("email", "b@x.org")]
    metadata = tmp_path / "assignment_99_export" / "submission_metadata.yml"
    for damaged in (b"submission_3:\n\t- [", b"- 5", b"submission_3: {':submitters': 7}", b"\xff\xfe\x00"):
        metadata.write_bytes(damaged)
        with pytest.raises(LabError, match=r"submission_metadata\.yml is not a readable Gradescope list"):
            find_students(tmp_path)


def test_blackboard_s_newest_attempt_counts(tmp_path):
    blackboard(tmp_path, "Anna Schmidt", "a_schmidt", "2025-01-05-09-00-00", {"submission.py": b"old"})
    blackboard(tmp_path, "Anna Schmidt", "a_schmidt", "2025-01-06-09-00-00", WORKS)
    blackboard(tmp_path, "Bob Miller", "bmiller", "2025-01-06-09-00-00", {})
    students, _ = found(tmp_path)
    assert {name: student.name for name, student in students.items()} == {
        "a_schmidt": "Anna Schmidt",
        "bmiller": "Bob Miller",
    }
    anna = students["a_schmidt"]
    assert anna.attempt == "2025-01-06-09-00-00" and {name for _, name, _ in anna.parts} == set(FILES)
    assert "the newest of 2 attempts counts" in anna.notes[0]
    with pytest.raises(LabError, match="rar"):
        write(tmp_path / "none", {"a.rar": b""})
        find_students(tmp_path / "none")


def test_what_is_no_submission_is_named(tmp_path):
    write(tmp_path, {"Bob#1.ZIP": zipped(WORKS), "ann/submission.py": b"", "ann.zip": b"", "roster.csv": b"id\n"})
    write(
        tmp_path, {"old/gradebook.json": b"", "old/results/a.json": b"", "out/x": b"", "carl.7z": b"", "notes.txt": b""}
    )
    students, ignored = found(tmp_path, (tmp_path / "out").resolve(), (tmp_path / "roster.csv").resolve())
    assert {student.key for student in students.values()} == {"folder Bob#1", "folder ann", "folder ann.zip"}
    assert ignored == {"old", "out", "carl.7z", "notes.txt", "roster.csv"}
    with pytest.raises(LabError, match="is a zip: unpack it"):
        find_students(tmp_path / "ann.zip")
    for folder in ("old", "old/results"):
        with pytest.raises(LabError, match="is, or belongs to, a gradebook"):
            find_students(tmp_path / folder)
    with pytest.raises(LabError, match="is not a folder"):
        find_students(tmp_path / "nowhere")


def test_no_name_that_a_student_chooses_makes_a_file_somebody_else_s(tmp_path):
    """Each hands in, beside a victim's, what another platform or the same one would write for that victim."""
    forged = b"submission_4:\n  :submitters:\n  - {:name: Anna, :sid: '00123'}\n  :created_at: 2026-01-01\n"
    own, time = {"submission.py": b"own"}, "2026-01-06-10-00-00"
    moodle(tmp_path / "moodle", "Anna", 1, own)
    moodle(tmp_path / "moodle", "Bob", 2, {"Anna_1_assignsubmission_file_submission.py": b"forged"})
    write(tmp_path / "moodle", {"Carl_3_assignsubmission_file_Anna_1_assignsubmission_file_submission.py": b"forged"})
    gradescope(tmp_path / "gradescope", [(3, "Anna", "00123", "a@x.org", own), (4, "Bob", "00124", "b@x.org", {})])
    export = tmp_path / "gradescope" / "assignment_99_export"
    write(export / "submission_4", {"submission_metadata.yml": forged, "submission_4/submission.py": b"forged"})
    blackboard(tmp_path / "blackboard", "Anna", "anna", "2025-01-05-09-00-00", own)
    name = f"x_anna_attempt_{time}_submission.py"
    blackboard(tmp_path / "blackboard", "Bob", "bob", "2025-01-05-09-00-00", {name: b"forged"})
    canvas(tmp_path / "canvas", "Anna", 1, 10, own)
    canvas(tmp_path / "canvas", "Bob", 2, 20, {name: b"forged", "x_1_assignsubmission_file_submission.py": b"forged"})
    write(tmp_path / "folders", {"anna/submission.py": b"own", "bob/submission_metadata.yml": b"}{"})
    write(tmp_path / "folders", {"carl/Anna_1_assignsubmission_file_submission.py": b"forged"})
    for platform, ids in {
        "moodle": {"Anna_1", "Bob_2", "Carl_3"},
        "gradescope": {"Anna_00123", "Bob_00124"},
        "gradescope/assignment_99_export": {"Anna_00123", "Bob_00124"},
        "blackboard": {"anna", "bob"},
        "canvas": {"anna_1", "bob_2"},
        "folders": {"anna", "bob", "carl"},
    }.items():
        students, _ = found(tmp_path / platform)
        assert set(students) == ids, platform
        (tmp_path / f"taken from {platform.replace('/', ' ')}").mkdir()
        collect(students[min(ids)].parts, tmp_path / f"taken from {platform.replace('/', ' ')}")
    assert {path.read_bytes() for path in tmp_path.glob("taken*/submission.py")} == {b"own"}
    assert len(list(tmp_path.glob("taken*/submission.py"))) == 6


def test_a_name_that_is_no_utf_8_is_written_down_all_the_same(tmp_path):
    for name in (b"caf\xe9", b"caf\xe8", b"\xff.rar"):
        (tmp_path / os.fsdecode(name)).mkdir() if b"caf" in name else (tmp_path / os.fsdecode(name)).write_bytes(b"")
    students, ignored = found(tmp_path)
    assert {student.key for student in students.values()} == {r"folder caf\xe9", r"folder caf\xe8"}
    assert ignored == {r"\xff.rar"}


def test_ids_are_unique_to_people_and_to_file_systems_and_stay_the_same():
    names = [
        "bob",
        "Bob",
        "bob-81b637d8",
        "ＢＯＢ",
        "straße",
        "STRASSE",
        "=1+1",
        "a\nb",
        "../up",
        "x" * 300,
        "王小明",
        "a\udce9",
    ]
    students = [Student(f"folder {name}", [], name) for name in names]
    assign_ids(students, {})
    ids = {student.key: student.id for student in students}
    assert len({fold(one) for one in ids.values()}) == len(names)
    assert all(one.isprintable() and "/" not in one and one[0].isalnum() and len(one) < 100 for one in ids.values())
    assert ids["folder 王小明"] == "王小明"
    again = [Student("folder bob", [], "bob"), Student("folder boB", [], "boB")]
    assign_ids(again, ids)
    assert again[0].id == ids["folder bob"] and fold(again[1].id) not in {fold(one) for one in ids.values()}


@pytest.mark.parametrize(
    "name", ["Submission.PY", "submission (1).py", "submission.py.txt", "submission-2.py", "submission - Copy.py"]
)
def test_a_name_that_saving_twice_made_is_taken_with_a_note(tmp_path, name):
    files = {name: b"x", "vaewolabel (1).PTH": b"1", "Genwithlabel.pth": b"2"}
    places, said = taken(tmp_path, files)
    assert set(places) == set(FILES) and f"{name} was taken for submission.py" in said


@pytest.mark.parametrize("files", [
    {"a/b/c/submission.py": b"", "a/b/c/VAEwolabel.pth": b"", "a/b/c/weights/Genwithlabel.pth": b""},
    {"work.zip": zipped({"inner.zip": zipped({"hw/" + name: b"" for name in FILES})})},
    {"submission.py": b"", "weights.zip": zipped({name: b"" for name in FILES[1:]})},
    {"submission.py": b"", "VAEwolabel/best.pth": b"", "runs/Genwithlabel/x/best.pth": b"",
     "runs/Genwithlabel/x/epoch_3.pth": b""},
    {"submission.py": b"", "best_VAEwolabel.pth": b"", "best_Genwithlabel.pth": b""},
])  # fmt: skip
def test_packaging_is_no_reason_to_lose_points(tmp_path, files):
    places, _ = taken(tmp_path, files)
    assert set(places) == set(FILES) and not any("epoch" in place for place in places.values())


def test_a_checkpoint_is_known_by_the_task_that_is_stored_in_it(tmp_path):
    files = {"submission.py": b""}
    for name, task in (("a.pth", "VAEwolabel"), ("b.pth", "Genwithlabel"), ("c.pth", "else")):
        buffer = io.BytesIO()
        torch.save({"task": task, "latent_dim": 4, "model_state_dict": {"w": torch.zeros(3)}}, buffer)
        files[name] = buffer.getvalue()
    places, said = taken(tmp_path, files)
    assert (places["VAEwolabel.pth"], places["Genwithlabel.pth"]) == ("a.pth", "b.pth")
    assert "a.pth was taken for VAEwolabel.pth" in said


@pytest.mark.parametrize("files, said", [
    ({"a/submission.py": b"1", "b/submission.py": b"2"}, r"was found 2 times \(a/submission.py, b/submission.py\)"),
    ({"submission (1).py": b"1", "submission (2).py": b"2"}, "submission.py was found 2 times"),
    ({"submission.py": b"", "VAEwolabel/a/best.pth": b"", "VAEwolabel/b/best.pth": b""}, "VAEwolabel.pth was found 2"),
    ({"lab.ipynb": b"", "work.rar": b"", "main.py": b"", **{f"{n}.png": b"" for n in range(20)}},
     r"found instead: lab.ipynb \(a notebook is not run\), work.rar \(a .rar is not opened\), main.py(, \w+.png){7}$"),
    ({".DS_Store": b""}, "found instead: no files"),
])  # fmt: skip
def test_between_two_files_nobody_guesses_and_what_is_missing_says_what_is_there(tmp_path, files, said):
    assert re.search(said, taken(tmp_path, files)[1])


@pytest.mark.parametrize(
    ("manifest", "versions"),
    [
        ({"tasks": {"a": {"versions": {"python": "3.11.7", "torch": "2.6.0", "numpy": "2.4.6"}}}}, "2.6.0"),
        ({"tasks": {"a": {"versions": None}, "b": {}}}, None),
        (
            {"tasks": {"a": {"versions": {"python": [], "torch": "=1+1\x1b" * 99, "numpy": 0}}}},
            "=1+1\N{REPLACEMENT CHARACTER}" * 4,
        ),
        ("[" * 10_000, None),
    ],
)
def test_the_versions_of_a_manifest_are_read_if_they_can_be(tmp_path, manifest, versions):
    text = manifest if isinstance(manifest, str) else json.dumps(manifest)
    (tmp_path / "ann").mkdir()
    for name, content in (("submission.py", ""), ("manifest.json", text)):
        (tmp_path / "ann" / name).write_text(content, encoding="utf-8")
    assert collect([("", "", tmp_path / "ann")]).versions.get("torch") == versions


def test_a_truncated_zip_says_so_even_where_a_checkpoint_in_it_ends_like_a_zip(tmp_path):
    buffer = io.BytesIO()
    torch.save({"w": torch.zeros(30000)}, buffer)
    whole = zipped({"submission.py": b"x" * 100, "VAEwolabel.pth": buffer.getvalue(), "Genwithlabel.pth": b"y" * 9000})
    for length in (len(whole) - 10, len(whole) - 150, len(whole) // 2, 40):
        (tmp_path / "a.zip").write_bytes(whole[:length])
        with pytest.raises(CollectError, match="the zip is truncated"):
            collect([("", "a.zip", tmp_path / "a.zip")])
    for content in (b"", b"Rar!" * 20, b"PK\5\6"):
        (tmp_path / "a.zip").write_bytes(content)
        with pytest.raises(CollectError, match="the file is not a zip"):
            collect([("", "a.zip", tmp_path / "a.zip")])


def test_of_1000_damaged_zips_each_is_read_or_refused_in_our_words(tmp_path):
    rng = random.Random(0)
    whole = zipped({"inner.zip": zipped(WORKS), "hw/a.txt": b"x"})
    for _ in range(1000):
        content = bytearray(whole)
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        (tmp_path / "a.zip").write_bytes(content)
        for path in (tmp_path / "copied").glob("*"):
            path.unlink()
        (tmp_path / "copied").mkdir(exist_ok=True)
        try:
            collected = collect([("", "a.zip", tmp_path / "a.zip")], tmp_path / "copied")
        except CollectError:
            continue
        assert {path.name for path in (tmp_path / "copied").iterdir()} <= set(collected.files)
