# VAEwolabel: bad_shape; Genwithlabel: missing
class VAE(VAE):
    def decode(self, z, labels=None):
        return super().decode(z)[:, :27]
