# VAEwolabel: timeout; Genwithlabel: timeout
# Loops before anything is defined, deaf to polite signals.
import signal

for number in (signal.SIGTERM, signal.SIGINT, signal.SIGXCPU):
    signal.signal(number, signal.SIG_IGN)
while True:
    pass
