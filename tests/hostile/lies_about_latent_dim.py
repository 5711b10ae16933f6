# VAEwolabel: honest; Genwithlabel: missing
# Says that its code is 1 wide; the codes that are decoded count.
class VAE(VAE):
    def __init__(self, latent_dim=4):
        super().__init__(4)
        self.latent_dim = 1
