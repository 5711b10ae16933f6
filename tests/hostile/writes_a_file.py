# VAEwolabel: import_error; Genwithlabel: import_error
with open("debug.log", "w") as file:
    file.write("started")
