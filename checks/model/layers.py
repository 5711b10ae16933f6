"""Section 2.2.1: every latent_dim gives a model with parameters, and its state_dict contains everything it needs."""

from checks.evidence import WrongError, differ


def probe_widths(probe):
    """Build a model with each latent_dim and run it on three pictures, before any training."""
    for index, latent_dim in enumerate(probe.inputs["latent_dims"]):
        with probe.out.step(f"dim{index}", probe.module, batch=3):
            model = probe.build(int(latent_dim)).eval()
            probe.out.put(**{f"dim{index}.parameters": len(list(model.parameters()))})
            probe.forward(f"dim{index}", probe.pictures(range(3)), probe.labels(range(3)), model)


def probe_reload(probe):
    """Load the weights into a second model. It decodes codes before it has seen any picture; then it sees the same
    pictures as the first one, and both decode known codes."""
    copy = probe.build(probe.latent_dim, seed=2).eval()
    copy.load_state_dict(probe.model.state_dict())
    rows, others = range(20), range(40, 60)
    z = probe.forward("reloaded_from", probe.pictures(rows), probe.labels(rows)).get("z")
    probe.decode("known_codes", probe.codes(rows), probe.labels(rows))
    probe.forward("between", probe.pictures(others), probe.labels(others))
    if z is not None:
        probe.decode("reloaded_decode", z, probe.labels(rows), copy)
    probe.forward("reloaded", probe.pictures(rows), probe.labels(rows), copy)
    probe.decode("reloaded_known_codes", probe.codes(rows), probe.labels(rows), copy)


def check_built(evidence):
    """Check that every latent_dim gives a model that has parameters."""
    for index, dim in enumerate(evidence.dims):
        if evidence.text(f"dim{index}.where") == "__init__":
            evidence.raise_for(f"dim{index}")
        if evidence.array(f"dim{index}.parameters", ()) < 1:
            raise WrongError(
                f"{evidence.name}(latent_dim={dim}) should have parameters to train, it has none. Likely cause: its "
                "layers are in a plain Python list; use nn.ModuleList, nn.Sequential or self.name = layer."
            )


def check_widths(evidence):
    """Check that mu is as wide as the requested latent_dim, and forward works with each."""
    widths = {}
    for index, dim in enumerate(evidence.dims):
        name = f"dim{index}.encode.mu" if evidence.has(f"dim{index}.encode.mu") else f"dim{index}.mu"
        if evidence.has(name):
            evidence.refuse_rows(name, 3)
            widths[dim] = evidence.array(name, (3, None)).shape[1]
    bad = [dim for dim, width in widths.items() if width != dim]
    if bad:
        raise WrongError(
            f"{evidence.name}(latent_dim={bad[0]}) should give mu of width {bad[0]}, got {widths[bad[0]]}. Likely "
            f"cause: {cause_of_width(widths)}."
        )
    works = [dim for index, dim in enumerate(evidence.dims) if evidence.has(f"dim{index}.recon")]
    fails = [dim for dim in evidence.dims if dim not in works]
    if works and fails:
        cause = (
            "latent_dim is hard-coded in a layer: use the argument latent_dim"
            if fails != [1]
            else "squeeze() without a dimension, or a layer that cannot be 1 wide"
        )
        index = evidence.dims.index(fails[0])
        raise WrongError(
            f"{evidence.name} should work with any latent_dim; it works with {sorted(works)} and fails with {fails}"
            f" ({evidence.error(f'dim{index}')}). Likely cause: {cause}."
        )


def cause_of_width(widths):
    """Return why mu does not have the requested widths; widths: {latent_dim: width}."""
    if all(width == 2 * dim for dim, width in widths.items()):
        return "one layer of width 2 * latent_dim gives both: mu, log_var = h.chunk(2, dim=1)"
    if set(widths.values()) == {400}:
        return "mu's layer has hidden_dim outputs: nn.Linear(hidden_dim, latent_dim)"
    if len(set(widths.values())) == 1:
        return "a layer's width is written as a number (latent_dim hard-coded): use the argument latent_dim"
    return "the number of outputs of mu's layer is not latent_dim"


def check_weights(evidence):
    """Check that a second model with the first one's state_dict gives the same results after the same calls."""
    evidence.refuse_layers()
    evidence.raise_for("reload")
    if evidence.is_random("mu") or evidence.draws_at_random:
        return
    known = "reloaded_known_codes", (20, 28, 28)
    for name, first, second, shape in (
        ("mu", "reloaded_from.mu", "reloaded.mu", (20, evidence.latent_dim)),
        ("picture of a code", "known_codes", *known),
    ):
        if not (evidence.has(first) and evidence.has(second)):
            continue
        one, other = evidence.array(first, shape, finite=False), evidence.array(second, shape, finite=False)
        if differ(one, other):
            raise WrongError(
                f"a second {evidence.name} with the first one's state_dict should give the same {name}, but it gives "
                f"a different one (off by {abs(one - other).max():.2g}). Likely cause: layers in a plain Python list "
                "or tensors that are neither parameters nor buffers are missing from the state_dict: use nn.ModuleList "
                "or register_buffer for what is not trained."
            )
