# VAEwolabel: output_flood; Genwithlabel: output_flood
while True:
    print("x" * 10_000)
