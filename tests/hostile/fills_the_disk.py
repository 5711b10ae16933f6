# VAEwolabel: honest; Genwithlabel: missing
# Nested folders, empty files, unlinked ones, and folders that nobody may open. It crashes if any of them can be made.
import os
import tempfile


def nest():
    for _ in range(3000):
        os.mkdir("x")
        os.chdir("x")


def make_empty_files():
    for number in range(200_000):
        os.close(os.open(f"empty_{number}", os.O_CREAT | os.O_WRONLY))


def unlink_a_full_one():
    file = os.open("unlinked", os.O_CREAT | os.O_RDWR)
    os.unlink("unlinked")
    while True:
        os.write(file, bytes(2**20))


def close_a_folder():
    os.mkdir("closed")
    os.chmod("closed", 0o300)


START = os.getcwd()
for folder in (
    START,
    "/",
    "/tmp",
    "/dev/shm",
    "/scratch",
    "/submission",
    os.path.dirname(__file__),
    "/var/tmp",
    "/dev",
):
    for attempt in (nest, make_empty_files, unlink_a_full_one, close_a_folder, tempfile.TemporaryFile):
        try:
            os.chdir(folder)
            attempt()
        except OSError:
            continue
        os._exit(1)
os.chdir(START)
