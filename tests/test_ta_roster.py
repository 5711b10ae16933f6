"""Rosters as people have them, and who in them is whose submission."""

import random

import pytest

from lab.cli import LabError
from lab.tables import read_rows, write_table
from ta.gradebook import person_of
from ta.roster import Person, find, match, name_forms, read_points, read_table

CANVAS = """Student,ID,SIS User ID,SIS Login ID,Section,Lab 3 (8811),Current Score
,,,,,Manual Posting,(read only)
    Points Possible,,,,,100.00,(read only)
"Schmidt, Anna",7014,00123,aschmidt,Tutorial 1,,
"Student, Test",9999,,,Tutorial 1,,
"""
MOODLE = (
    "First name,Last name,ID number,Institution,Department,Email address,Course total\nAnna,Schmidt,00123,,,a@x.org,-\n"
)
WORKSHEET = (
    "ID,Vollständiger Name,ID-Nummer,E-Mail-Adresse,Status,Bewertung,Bestwertung\n"
    'Teilnehmer/in5004,Anna Schmidt,00123,a@x.org,Zur Bewertung abgegeben,,"90,00"\n'
)


def student(key, name="", *ids):
    return person_of({"key": key, "id": key, "name": name, "ids": ids})


SUBMISSIONS = {
    "canvas": student("canvas 7014", "schmidtanna", ("canvas", "7014")),
    "moodle": student("moodle 5004 Anna Schmidt", "Anna Schmidt", ("participant", "5004")),
    "gradescope": student("gradescope a@x.org", "Anna Schmidt", ("number", "00123"), ("email", "a@x.org")),
    "blackboard": student("blackboard aschmidt", "Anna Schmidt", ("login", "aschmidt")),
    "folder": student("folder 00123", "00123"),
    "named": student("folder Anna Schmidt", "Anna Schmidt"),
}


@pytest.mark.parametrize("text, encoding, said", [
    (CANVAS, "utf-8-sig", "UTF-8, separated by comma"),
    (MOODLE, "utf-8", "UTF-8, separated by comma"),
    (WORKSHEET, "cp1252", "Windows-1252, separated by comma"),
    ("Nachname;Vorname;Matrikel-Nr.;Größe\nSchmidt;Anna;00123;1,70", "cp1252", "Windows-1252, separated by semicolon"),
    ("姓名,学号,邮箱\nAnna Schmidt,00123,a@x.org\n王小明,00124,w@x.org", "gbk", "GBK, separated by comma"),
    ("姓\t名\t學號\nSchmidt\tAnna\t00123", "utf-16", "UTF-16, separated by tab"),
    ("sep=;\r\nname;id\r\nAnna Schmidt;00123", "utf-16-le", "UTF-16-LE, separated by semicolon"),
    ("name,id\r\n\"Schmidt, Anna\",00123\r\n,,\r\n", "ascii", "UTF-8, separated by comma"),
])  # fmt: skip
def test_rosters_of_any_encoding_separator_and_language_name_the_same_person(tmp_path, text, encoding, said):
    (tmp_path / "roster.csv").write_bytes(text.encode(encoding))
    table = read_table(tmp_path / "roster.csv")
    assert said in table.note
    anna = table.people[0]
    assert (anna.name, anna.label) == ("Anna Schmidt", "00123")
    assert len(table.people) == (2 if "王" in text else 1)
    for platform, submission in SUBMISSIONS.items():
        found, doubts = match(table.people, [submission])
        assert (found, doubts) == ({0: [0]}, {}), platform


def test_numbers_match_before_names_and_only_exactly_and_uniquely(tmp_path):
    (tmp_path / "roster.csv").write_text(
        "number,name\n5004,Björn Dahl\n1,Anna Schmidt\n2,Anna Schmidt\n3,Carl May\n4,May Carl\n5,Dora Li\n"
    )
    people = read_table(tmp_path / "roster.csv").people
    others = [
        SUBMISSIONS["moodle"],  # its number is Moodle's, no student's; and two have this name
        student("canvas 9", "carlmay", ("canvas", "9")),  # so have two this one
        student("folder 5", "5"),
        student("folder Dora Li", "Dora Li"),  # is already found by number
        student("gradescope 1", "Eve Fox", ("number", "1")),  # a name that contradicts
    ]
    found, doubts = match(people, others)
    assert found == {5: [2]}
    assert doubts == {1: [0], 2: [0], 3: [1], 4: [1]}
    assert match(people, others, settled={1: [0]})[0] == {1: [0], 5: [2]}
    assert find("anna schmidt", people) == [1, 2] and find("3", people) == [3] and find("Eve", people) == []


def test_rows_of_canvas_that_are_no_students_are_set_apart(tmp_path):
    (tmp_path / "roster.csv").write_text(CANVAS)
    table = read_table(tmp_path / "roster.csv")
    assert [row["Student"] for row in table.other] == ["Points Possible", "Student, Test"]
    (tmp_path / "roster.csv").write_text("id\nBob#1\n")
    bob = person_of({"key": "folder Bob#1", "id": "Bob_1-12345678", "name": "Bob#1"})  # the name of Bob#1.ZIP
    assert match(read_table(tmp_path / "roster.csv").people, [bob])[0] == {0: [0]}
    (tmp_path / "roster.csv").write_text("id,Gruppe\nann,1\n,2\n\nbob,3\n")
    table = read_table(tmp_path / "roster.csv")
    assert table.note.endswith("2 students; nobody named in row 3")
    with pytest.raises(LabError, match=r"expected column names in the first row.*got Gruppe: name it with --id_column"):
        (tmp_path / "odd.csv").write_text("Gruppe\n1\n")
        read_table(tmp_path / "odd.csv")
    assert read_table(tmp_path / "odd.csv", id_column="Gruppe").people[0].label == "1"
    with pytest.raises(LabError, match=r"--id_column Nr: .*has no such column, it has Gruppe"):
        read_table(tmp_path / "odd.csv", id_column="Nr")
    (tmp_path / "odd.csv").write_bytes("name\nJosé\n".encode("mac_roman"))
    assert read_table(tmp_path / "odd.csv", encoding="mac_roman").people[0].name == "José"
    with pytest.raises(LabError, match="give its --encoding"):
        read_table(tmp_path / "odd.csv", encoding="utf-8")


def test_points_for_the_theory_have_blanks_halves_and_words(tmp_path):
    (tmp_path / "theory.csv").write_text('id,theory\na,35.5\nb,"35,5"\nc,\nd,absent\ne,４０\nf,nan\n')
    points, notes = read_points(read_table(tmp_path / "theory.csv"), 40, tmp_path / "theory.csv")
    assert points == [35.5, 35.5, None, None, 40, None]
    assert [note.partition(": ")[2] for note in notes] == [
        "'absent' for d is not a number and is left blank", "'nan' for f is not a number and is left blank"
    ]  # fmt: skip
    (tmp_path / "theory.csv").write_text("id,theory\nann,41\n")
    with pytest.raises(LabError, match="row 2: expected theory points from 0 to 40 for ann, got '41'"):
        read_points(read_table(tmp_path / "theory.csv"), 40, tmp_path / "theory.csv")
    (tmp_path / "theory.csv").write_text("id,one,two\nann,1,2\n")
    with pytest.raises(LabError, match="expected one column named theory"):
        read_points(read_table(tmp_path / "theory.csv"), 40, tmp_path / "theory.csv")


def test_a_table_opens_right_in_a_spreadsheet_and_none_of_it_is_a_formula(tmp_path):
    columns = ["id", "mse", "lab", "text"]
    texts = ["=1+1", "＝1", "a;=1", "a;\t＠b", "x\n+1", "-1.5", "-", "2+2", "@x"]
    rows = [{"id": "0012", "mse": 0.012345, "lab": 1 / 3, "text": text} for text in texts]
    write_table(tmp_path / "grades.csv", columns, rows, fine={"mse"})
    assert (tmp_path / "grades.csv").read_bytes().startswith(b"\xef\xbb\xbf")
    cells, _ = read_rows(tmp_path / "grades.csv")
    assert cells[1][:3] == ['="0012"', "0.0123", "0.33"]
    assert [row[3] for row in cells[1:]] == ["'=1+1", "'＝1", "a;'=1", "a; '＠b", "x +1", "-1.5", "-", "2+2", "'@x"]
    write_table(tmp_path / "full.csv", columns, rows, for_excel=False)
    cells, _ = read_rows(tmp_path / "full.csv")
    assert cells[1][:3] == ["0012", "0.012345", str(1 / 3)]


def test_of_1000_damaged_tables_each_is_read_or_refused_in_our_words(tmp_path):
    rng = random.Random(0)
    texts = [CANVAS.encode(), WORKSHEET.encode("cp1252"), MOODLE.encode("utf-16"), "姓名,学号\n王,1\n".encode("gbk")]
    for number in range(1000):
        content = bytearray(texts[number % len(texts)])
        content[rng.randrange(len(content))] = rng.randrange(256)
        (tmp_path / "table.csv").write_bytes(content)
        try:
            table = read_table(tmp_path / "table.csv")
            read_points(table, 40, tmp_path / "table.csv")
        except LabError as error:
            assert str(tmp_path) in str(error)


def test_names_are_compared_as_people_write_them():
    assert name_forms("Schmidt, Anna") & name_forms("ANNA  SCHMIDT") & {"schmidtanna"}
    assert name_forms("van der Berg, Jürgen") & name_forms("Ju\u0308rgen van der Berg")
    assert not name_forms("Anna Schmidt") & name_forms("Anna Schmitt")
    assert find("nobody", [Person("x")]) == []
