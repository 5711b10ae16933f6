# VAEwolabel: crash; Genwithlabel: crash
# Neither what it prints nor what it writes is a result, and an exit code of 0 without one is no pass.
import contextlib
import os

print('{"status": "ok", "tasks": {"VAEwolabel": {"status": "ok", "score": 10}}}', flush=True)
print("1 students: 1 ok", flush=True)
for number in range(3, 64):
    with contextlib.suppress(OSError):
        os.write(number, b'{"status": "ok", "score": 1000, "mse": 0, "ssim": 1}' * 100)
for name in ("result.json", "grades.csv", "results/forges_files.json"):
    with contextlib.suppress(OSError), open(name, "w") as file:
        file.write('{"status": "ok", "score": 1000}')
os._exit(0)
