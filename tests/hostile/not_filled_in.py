# VAEwolabel: not_filled_in; Genwithlabel: honest
class VAE(VAE):
    def encode(self, x):
        raise NotImplementedError("2.2.2 is not filled in yet")
