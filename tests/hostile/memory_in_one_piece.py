# VAEwolabel: memory; Genwithlabel: missing
class VAE(VAE):
    def forward(self, x, labels=None):
        return torch.ones(2**40), None, None
