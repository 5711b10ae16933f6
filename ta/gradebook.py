"""The gradebook, the folder --out: everybody who was ever graded, the sources of their submissions, and the tables.

There is one row per person who is on the roster or has handed in. No row is ever removed; overrides.csv, which the
staff write by hand, changes what a row says.
"""

import contextlib
import difflib
import fcntl
from dataclasses import asdict, dataclass, field

from lab.cli import LabError
from lab.files import read_sealed, write_sealed, write_whole
from lab.tables import read_rows
from lab.tasks import TASKS
from ta.roster import KINDS, Person, find, match, name_forms, read_points, read_table, to_number
from ta.sandbox.wire import clean
from ta.submissions import assign_ids, fold, new_id
from ta.table import MAX_POINTS, THEORY, own_cells

EVERYBODY = 10**6
KNOWN = ("key", "id", "name", "ids", "folder")  # what the gradebook remembers of a Student


@dataclass
class Row:
    """One person. person: how they are identified; result: of the submission that counts; students: their records in
    the memory; roster: their cells in it; changes: [(column, value, reason), ...] from overrides.csv; own: the cells of
    grades.csv that do not come from the roster."""

    id: str
    person: Person
    result: dict
    students: list
    roster: dict
    theory: float | None = None
    changes: list = field(default_factory=list)
    own: dict = field(default_factory=dict)


@contextlib.contextmanager
def locked(path, wait=True):
    """Hold a lock that all machines on a shared file system see and that ends with this process; yield False if
    another process holds it."""
    with open(path, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True


def read_result(folder, student_id):
    """Return a student's result, or None if there is no readable one."""
    return read_sealed(folder / f"{student_id}.json")


def without_result(status, message, points):
    """Return a result for somebody who has none; points: what they get for each part."""
    task = {"status": status, "message": message, "private": False, "checks": []}
    task |= {"completion": points, "score": points}
    return {"status": status, "tasks": {name: task for name in TASKS}}


class Gradebook:
    """The folder of a graded class. notes: remarks on its tables for the staff; matching: rows of the roster and
    submissions without a counterpart; unstored: results of this call that could not be written to the disk."""

    def __init__(self, folder):
        self.folder, self.notes, self.matching, self.unstored = folder, [], [], {}
        self.memory = self.read_memory()
        self.roster, self.theory = (self.read_kept(name) for name in ("roster", "theory"))

    def read_memory(self):
        """Return the gradebook's memory; if its file is lost, what can be rebuilt from the results."""
        path = self.folder / "gradebook.json"
        memory = read_sealed(path)
        if memory is None:
            results = [read_sealed(one) for one in sorted((self.folder / "results").glob("*.json"))]
            memory = {"test_set": "", "students": {}, "options": {}, "ignored": {}, "written": ""}
            for result in filter(None, results):
                memory["test_set"] = result["test_set"]
                memory["accuracy_gate"] = result.get("accuracy_gate")
                memory["students"][result["student"]["key"]] = result["student"]
            if path.exists():
                self.notes.append(f"{path} is damaged: rebuilt from results/")
        return memory

    @contextlib.contextmanager
    def changing(self):
        """Change the memory under a lock, so that only one grader does so at a time."""
        (self.folder / "results").mkdir(exist_ok=True)
        with locked(self.folder / "results" / ".lock"):
            self.memory = self.read_memory()
            yield self.memory
            write_sealed(self.folder / "gradebook.json", self.memory)

    def bind(self, test_set, gate, regrade_all):
        """Tie the gradebook to a test set and an accuracy gate; a different one is refused unless everybody is graded
        again."""
        old, old_gate = self.memory["test_set"], self.memory.get("accuracy_gate")
        is_bound = not regrade_all and any((self.folder / "results").glob("*.json"))
        if is_bound and old_gate != gate:
            had, has = (
                f"with --accuracy_gate {one:g}" if one else "without --accuracy_gate" for one in (old_gate, gate)
            )
            raise LabError(
                f"{self.folder} was graded {had} and this call is {has}: such points are not comparable. Use the same "
                "gate as before, give a different --out, or grade everybody again with --regrade_all."
            )
        if is_bound and old not in ("", test_set):
            raise LabError(
                f"{self.folder} was graded on a different test set ({old}, this one is {test_set}): points on two test "
                "sets are not comparable. Give a different --out, or grade everybody again with --regrade_all."
            )
        with self.changing() as memory:
            memory["test_set"], memory["accuracy_gate"] = test_set, gate

    def register(self, students, source, ignored):
        """Give students their ids, which never change, and remember who they are and where their files are."""
        with self.changing() as memory:
            assign_ids(students, {key: record["id"] for key, record in memory["students"].items()})
            for student in students:
                record = memory["students"].setdefault(student.key, {"sources": []})
                record |= {name: value for name, value in asdict(student).items() if name in KNOWN and value}
                record["sources"] = list(dict.fromkeys([*record["sources"], str(source)]))
            memory["ignored"][str(source)] = ignored

    def remember(self, name, path, encoding=None, id_column=None):
        """Keep a table, replacing an older one, and note what has changed. name: roster, theory or match."""
        options, old, new = {"encoding": encoding, "id_column": id_column}, getattr(self, name, None), None
        if name != "match":
            new = read_table(path, **options)
            setattr(self, name, new)
            self.notes.append(new.note)
        if old and new:
            before, after = ({person.label: person.row for person in table.people} for table in (old, new))
            changes = {"new": after.keys() - before.keys(), "gone": before.keys() - after.keys()}
            changes["changed"] = {one for one in before.keys() & after.keys() if before[one] != after[one]}
            said = [f"{len(some)} {what} ({shorten(sorted(some))})" for what, some in changes.items() if some]
            self.notes.append(f"{name}: {', '.join(said) or 'as before'}")
        content = path.read_bytes()
        with self.changing() as memory, write_whole(self.folder / f"{name}.csv") as temporary:
            temporary.write_bytes(content)
            memory["options"][name] = options

    def read_kept(self, name):
        path = self.folder / f"{name}.csv"
        return read_table(path, **self.memory["options"].get(name, {})) if path.is_file() else None

    def describe_ignored(self):
        """Return one line per folder of submissions and reason for ignoring something in it."""
        lines = {}
        for source, some in self.memory["ignored"].items():
            for name, why in some:
                lines.setdefault(f"ignored in {source}: {why}", []).append(name)
        return [f"{line}: {shorten(names, EVERYBODY)}" for line, names in lines.items()]

    def rows(self):
        """Return one Row per person, sorted by id."""
        records = list(self.memory["students"].values())
        students = [person_of(record) for record in records]
        listed = self.roster or self.theory  # who is expected to hand in
        people = listed.people if listed else []

        def apart(found):  # one person's submissions come from different folders
            sources = [source for index in found for source in records[index]["sources"]]
            return len(set(sources)) == len(sources)

        found, doubts = match(people, students, self.read_pairs(people, students), apart)
        taken = {fold(record["id"]) for record in records}
        choices = {index: [records[other]["id"] for other in some] for index, some in doubts.items()}
        rows = [
            self.make_row(person, [records[other] for other in found.get(index, [])], choices.get(index, []), taken)
            for index, person in enumerate(people)
        ]
        alone = set(range(len(records))) - {other for some in found.values() for other in some}
        rows += [self.make_row(None, [records[index]], [], taken) for index in sorted(alone)]
        if people:
            self.matching = [f"{len(found)} of {len(people)} rows of the roster have a submission"]
            open_rows = [f"{people[index].label} ({' or '.join(ids)})" for index, ids in choices.items()]
            for what, names in (
                ("Rows without a submission", [row.person.label for row in rows if row.result["status"] == "missing"]),
                ("Submissions without a row, for --match FILE to settle", sorted(records[one]["id"] for one in alone)),
                ("Rows with several candidates, for --match FILE to settle", open_rows),
            ):
                self.matching += [f"{what}: {shorten(names, EVERYBODY)}"] if names else []
        self.add_theory(rows)
        self.add_overrides(rows)
        for row in rows:
            row.own = own_cells(row)
        assert len({fold(row.id) for row in rows}) == len(rows), "two rows under one id"
        return sorted(rows, key=lambda row: row.id)

    def make_row(self, listed, records, choices, taken):
        """Return the Row of a listed person (or None) and their records; choices: ids of candidates."""
        ids = [record["id"] for record in records]
        results = [(read_result(self.folder / "results", one) or self.unstored.get(one), one) for one in ids]
        results.sort(key=lambda pair: (pair[0] or {}).get("seen", ""))
        if results:
            result, row_id = results[-1]
            is_there = (self.folder / "results" / f"{row_id}.json").exists()
            message = "its result is damaged: run the same command again" if is_there else "not graded yet"
            result = result or without_result("not_graded", message, None)
        elif choices:
            result = without_result("unmatched", f"may be {' or '.join(choices)}: --match FILE settles it", None)
        else:
            result = without_result("missing", "nothing was handed in", 0)
        if not results:
            row_id = new_id(listed.label, taken)
            taken.add(fold(row_id))
        known = [one for one in (listed, *map(person_of, records)) if one]
        labels = [listed.label] if listed else [value for record in records for _, value in record.get("ids", [])]
        names = [one.name for one in known] + [record.get("name", "") for record in records]
        person = Person("".join(labels[:1]), next(filter(None, names), ""))
        person.ids = {("id", fold(row_id))}.union(*(one.ids for one in known))
        person.names = set().union(*(one.names for one in known))
        return Row(row_id, person, result, records, listed.row if listed else {})

    def read_pairs(self, people, students):
        """Return match.csv as {index in people: [indices in students]}; each line names a submission and a person."""
        path, pairs = self.folder / "match.csv", {}
        lines = read_rows(path, self.memory["options"].get("match", {}).get("encoding"))[0] if path.is_file() else []
        for number, cells in enumerate(lines, start=1):
            cells = [cell for cell in cells if cell][:2]
            ways = [cells, cells[::-1]] if cells[1:] else []
            clear = [
                pair for pair in ((find(a, people), find(b, students)) for a, b in ways) if [*map(len, pair)] == [1, 1]
            ]
            if clear:
                (person,), (student,) = clear[-1]
                pairs.setdefault(person, []).append(student)
            elif cells and number > 1:  # the first row may name the columns
                raise LabError(
                    f"{path}, row {number}: expected a submission and a person on the roster, got {', '.join(cells)}: "
                    "one of the two matches nobody, or more than one."
                )
        return pairs

    def add_theory(self, rows):
        """Add the points for the theory to the rows."""
        if self.theory:
            points, notes = read_points(self.theory, THEORY, self.folder / "theory.csv")
            found, _ = match(self.theory.people, [row.person for row in rows])
            for index, (row,) in found.items():
                rows[row].theory = points[index]
            lost = [person.label for index, person in enumerate(self.theory.people) if index not in found]
            self.notes += notes + ([f"theory points that match nobody: {shorten(lost, EVERYBODY)}"] if lost else [])

    def add_overrides(self, rows):
        """Add the changes of overrides.csv (id, column, value, reason) to the rows. Raises LabError with its row."""
        path, columns = self.folder / "overrides.csv", [*MAX_POINTS, "penalty", "comment"]
        for person in read_table(path).people if path.is_file() else []:
            where = f"{path}, row {person.line}"
            column, text, reason = (person.row.get(name, "") for name in ("column", "value", "reason"))
            found = find(person.label, [row.person for row in rows])
            if len(found) != 1:
                near = did_you_mean(person.label, [row.id for row in rows])
                raise LabError(f"{where}: expected the id of one student, got {person.label!r}{near}.")
            if column not in columns:
                near = did_you_mean(column, columns) or f"; expected one of {', '.join(columns)}"
                raise LabError(f"{where}: no column {column!r} can be changed{near}.")
            value = text if column == "comment" else to_number(text)
            max_points = MAX_POINTS.get(column, MAX_POINTS["total"])
            if value is None or (column != "comment" and not 0 <= value <= max_points):
                raise LabError(f"{where}: expected points from 0 to {max_points:g} for {column}, got {text!r}.")
            rows[found[0]].changes.append((column, value, reason))


def person_of(record):
    """Return how a remembered student is identified. A folder's name may be any identifier that a roster uses."""
    platform, _, name = record["key"].partition(" ")
    ids = {(kind, fold(name)) for kind in KINDS} if platform == "folder" else set()
    ids |= {("id", fold(record["id"]))} | {(kind, fold(value)) for kind, value in record.get("ids", [])}
    names = name_forms(record.get("name", ""))
    return Person(record["id"], "" if platform == "folder" else record.get("name", ""), ids, names)


def shorten(names, limit=5):
    """Return the first names of a list as text."""
    return ", ".join(map(clean, names[:limit])) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def did_you_mean(word, words):
    """Return "; did you mean ...?" with the words most like this one, "" if none is."""
    folded = {fold(one): one for one in words}
    near = [folded[one] for one in difflib.get_close_matches(fold(word), folded)]
    near += [one for one in words if fold(word) and fold(word) in fold(one) and one not in near]
    return f"; did you mean {' or '.join(map(repr, near[:3]))}?" if near else ""
