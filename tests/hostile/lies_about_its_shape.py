# VAEwolabel: fault; Genwithlabel: missing
class Liar(torch.Tensor):
    shape = property(lambda self: torch.Size([len(self), 28, 28]))

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function.__name__ in ("reshape", "float", "clamp", "mul", "round", "byte", "cpu"):
            return args[0]
        return super().__torch_function__(function, types, args, kwargs or {})


class VAE(VAE):
    def decode(self, z, labels=None):
        return torch.zeros(len(z), 5).as_subclass(Liar)
