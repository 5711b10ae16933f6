# VAEwolabel: bad_shape; Genwithlabel: bad_values
class VAE(VAE):
    def decode(self, z, labels=None):
        return super().decode(z)[:, :27]


class GenModel(GenModel):
    def decode(self, z, labels):
        return (super().decode(z, labels) * 255).byte()
