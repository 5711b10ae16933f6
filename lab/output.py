"""An output folder: what inference.py writes and grade.py reads."""

import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lab.cli import LabError, command
from lab.files import read_arrays, read_json, sha256, write_json, write_whole
from lab.plots import save_sheet
from lab.run import RUNS, Run, find_runs
from lab.tasks import TASKS

META = "meta.json"  # how the output was made; written last, so that its presence means that everything is there
AGAIN = "run inference.py again, on the graded split and without --inf_num"


def write_output(folder, recon, codes, generated, meta, png=False):
    """Write recon.npz, gen.npz and, last of all, meta.json.

    recon: uint8 [N, 28, 28]; codes: float16 [N, latent_dim]; generated: uint8 [10, n, 28, 28]; meta: plain values;
    png: also write recon/recon_i.png and gen/<digit>/<i>.png.
    """
    folder = Path(folder)
    (folder / META).unlink(missing_ok=True)
    with write_whole(folder / "recon.npz") as temporary:
        np.savez_compressed(temporary, images=recon, codes=codes)
    with write_whole(folder / "gen.npz") as temporary:
        np.savez_compressed(temporary, images=generated)
    if png:
        save_pngs(recon, generated, folder)
    write_json(folder / META, meta)


def save_pngs(recon, generated, folder):
    from PIL import Image

    (folder / "recon").mkdir(exist_ok=True)
    for index, image in enumerate(tqdm(recon, desc="recon/*.png", leave=False)):
        Image.fromarray(image).save(folder / "recon" / f"recon_{index}.png")
    for digit, images in enumerate(tqdm(generated, desc="gen/*/*.png", leave=False)):
        (folder / "gen" / str(digit)).mkdir(parents=True, exist_ok=True)
        for index, image in enumerate(images):
            Image.fromarray(image).save(folder / "gen" / str(digit) / f"{index}.png")


def draw_sheets(folder, images, recon, generated, between, firsts, relabelled=None):
    """Draw recon.png, gen.png, interpolation.png and, in a conditional task, labels.png.

    images, recon: uint8 [N, 28, 28]; generated: uint8 [10, n, 28, 28]; between: uint8 [10 * lines, 28, 28]; firsts: the
    index of each digit's first picture; relabelled: uint8 [10 * len(firsts), 28, 28], each decoded with every label.
    """
    conditional = relabelled is not None
    save_sheet(folder / "recon.png", np.stack([images[:16], recon[:16]]), "originals over their reconstructions")
    title = "generated from z ~ N(0, I)" + (", one row per digit" if conditional else "")
    save_sheet(folder / "gen.png", generated[:, :16], title, [*map(str, range(10))] if conditional else None)
    title = "straight lines between the codes of two pictures"
    if conditional:
        title += "\ntop: of the same digit; bottom: of consecutive digits, decoded with the first label"
    save_sheet(folder / "interpolation.png", between.reshape(-1, 10, 28, 28), title)
    if conditional:
        rows = np.concatenate([images[firsts][:, None], relabelled.reshape(-1, 10, 28, 28)], axis=1)
        save_sheet(folder / "labels.png", rows, "a picture, and its code decoded with each label, 0 to 9")


def read_output(folder, task, count, gen_num):
    """Return recon uint8 [N, 28, 28], codes float16 [N, latent_dim] and generated uint8 [10, gen_num, 28, 28] of an
    output folder; N is `count`, and generated is None for a task that does not score it.

    Without recon.npz or gen.npz the PNG files are read instead, and latent_dim is taken from meta.json. Raises LabError
    for anything that is missing, damaged or of a different shape.
    """
    meta = read_meta(folder, task)
    if (folder / "recon.npz").is_file():
        recon, codes = read(read_arrays, folder / "recon.npz", "images", "codes")
        check_array(recon, folder / "recon.npz", "images", np.uint8, (count, 28, 28))
        check_array(codes, folder / "recon.npz", "codes", np.float16, (count, None))
        if not np.isfinite(codes).all():
            raise LabError(f"{folder / 'recon.npz'}: codes contain NaN or infinity: run inference.py again.")
    else:
        recon = read_pngs([folder / "recon" / f"recon_{index}.png" for index in range(count)])
        codes = np.broadcast_to(np.float16(0), (count, meta["latent_dim"]))
    if not TASKS[task].generates:
        return recon, codes, None
    if not (folder / "gen.npz").is_file():
        paths = [folder / "gen" / str(digit) / f"{index}.png" for digit in range(10) for index in range(gen_num)]
        return recon, codes, read_pngs(paths).reshape(10, gen_num, 28, 28)
    (generated,) = read(read_arrays, folder / "gen.npz", "images")
    check_array(generated, folder / "gen.npz", "images", np.uint8, (10, None, 28, 28))
    if generated.shape[1] < gen_num:
        raise LabError(
            f"{folder / 'gen.npz'}: expected at least {gen_num} pictures per digit, got {generated.shape[1]}: run "
            f"inference.py again with --gen_num {gen_num}."
        )
    return recon, codes, generated[:, :gen_num]


def read_meta(folder, task):
    """Return meta.json of an output folder, after checking that it belongs to this task."""
    if not Path(folder).is_dir():
        raise LabError(f"{folder} does not exist. To create it:\nnext: {command('inference.py', '--task', task)}")
    path = Path(folder) / META
    meta = read(read_json, path)
    latent_dim = meta.get("latent_dim")
    if meta.get("task") != task:
        found = meta.get("task")
        raise LabError(f"{folder} is an output of {found}, expected {task}: give it as --{found}_output_dir.")
    if type(latent_dim) is not int or not 1 <= latent_dim < 2**31:
        raise LabError(f"{path}: expected latent_dim to be a positive whole number, got {latent_dim!r}.")
    return meta


def run_of(folder, task):
    """Return (Run, sum): the Run with whose best.pth an output was made, and best.pth's SHA-256 sum; (None, None) if it
    was made with a different checkpoint, or with a best.pth that was replaced since (then print a note)."""
    meta = read_meta(folder, task)
    made_with = Path(str(meta.get("checkpoint", "")))
    for run in map(Run, dict.fromkeys([Path(folder).parent, made_with.parent])):
        if not run.best.is_file():
            continue
        total = sha256(run.best.read_bytes())
        is_same = meta.get("checkpoint_sha256") == total
        if "checkpoint_sha256" not in meta:  # written by an older version
            is_newer = run.best.stat().st_mtime > (Path(folder) / META).stat().st_mtime
            is_same = made_with.name == run.best.name and not is_newer
        if is_same:
            return run, total
        print(
            f"note: {folder} was not made with the present {run.best}. To grade what would be handed in, first:\n"
            f"next: {command('inference.py', '--task', task, '--checkpoint_path', run.best)}",
            file=sys.stderr,
        )
        break
    return None, None


def find_outputs(given):
    """Return {task: output folder} for {task: the requested folder, or None}: None stands for the newest output among
    the task's runs, and a task without any is left out. Raises LabError if none is left."""
    runs, folders = find_runs(), {}
    for task, folder in given.items():
        outputs = [run.output for run in runs if run.task == task and (run.output / META).is_file()]
        newest = max(outputs, key=lambda output: (output / META).stat().st_mtime, default=None)
        if folder or newest:
            folders[task] = folder or newest
    if not folders:
        flag = f"--{[*given][-1]}_output_dir"
        raise LabError(f"there is nothing to grade in {RUNS.absolute()}: run inference.py first, or give {flag}.")
    return folders


def note_newer_run(task, run):
    """Print a note if a task has a run that was trained later than the graded one."""
    newest = next((other for other in find_runs() if other.task == task and other.best.is_file()), None)
    if newest is not None and newest != run and newest.changed() > run.changed():
        print(
            f"note: {newest} is newer than {run}, which is graded here. To grade the newer one, first:\n"
            f"next: {command('inference.py', '--task', task, '--checkpoint_path', newest.best)}",
            file=sys.stderr,
        )


def read(reader, path, *names):
    """Return reader(path, ...); add to its LabError what to do."""
    try:
        return reader(path, *names)
    except LabError as error:
        raise LabError(f"{error} Run inference.py again.") from error


def check_array(array, path, name, dtype, shape):
    """Raise LabError unless an array has this dtype and shape; None in `shape` means any length."""
    fits = array.ndim == len(shape) and all(b is None or a == b for a, b in zip(array.shape, shape, strict=True))
    if array.dtype != dtype or not fits:
        wanted = f"{np.dtype(dtype)} [{', '.join('N' if size is None else str(size) for size in shape)}]"
        raise LabError(f"{path}: expected {name} {wanted}, got {array.dtype} {list(array.shape)}: {AGAIN}.")


def read_pngs(paths):
    """Return the pictures uint8 [N, 28, 28] in PNG files."""
    from PIL import Image

    images = np.empty((len(paths), 28, 28), np.uint8)
    for index, path in enumerate(paths):
        try:
            with Image.open(path) as image:
                size, mode = image.size, image.mode  # checked before memory for a damaged size is allocated
                if (size, mode) == ((28, 28), "L"):
                    images[index] = np.asarray(image)
        except Exception as error:  # PIL and zlib raise almost anything for damaged bytes
            raise LabError(
                f"{path} is missing or not a picture ({type(error).__name__}: {error}): run inference.py --png again."
            ) from error
        if (size, mode) != ((28, 28), "L"):
            raise LabError(
                f"{path}: expected a grey picture of 28 x 28 pixels, got mode {mode}, {size[0]} x {size[1]}: "
                "run inference.py --png again."
            )
    return images
