# VAEwolabel: bad_values; Genwithlabel: missing
class VAE(VAE):
    def decode(self, z, labels=None):
        return (super().decode(z) * 255).byte()
