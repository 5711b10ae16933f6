# VAEwolabel: honest; Genwithlabel: honest
# What the first model leaves behind in the process breaks the second, which works in a process of its own.
left_behind = []


class VAE(VAE):
    def decode(self, z, labels=None):
        left_behind.append(1)
        return super().decode(z)


class GenModel(GenModel):
    def decode(self, z, labels):
        if left_behind:
            raise RuntimeError("the other model was here")
        return super().decode(z, labels)
