# VAEwolabel: memory; Genwithlabel: memory
kept = []
while True:
    kept.append(torch.ones(2**22))
