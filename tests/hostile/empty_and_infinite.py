# VAEwolabel: bad_shape; Genwithlabel: bad_values
class VAE(VAE):
    def decode(self, z, labels=None):
        return torch.empty(0)


class GenModel(GenModel):
    def decode(self, z, labels):
        return super().decode(z, labels) * torch.inf
