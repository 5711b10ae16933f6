# VAEwolabel: timeout; Genwithlabel: timeout
# Fifty-five threads that calculate: what they take from the others is bounded by their own time.
import threading


def burn():
    while True:
        torch.rand(10**4).sort()


for _ in range(55):
    threading.Thread(target=burn, daemon=True).start()
burn()
