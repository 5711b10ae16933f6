"""The likely cause of a PyTorch or Python error in a submission, in the student's terms."""

import re

from lab.cli import ROOT

PICTURE = 28 * 28
IMPORTS = {
    "F": "import torch.nn.functional as F",
    "nn": "from torch import nn",
    "torch": "import torch",
    "np": "import numpy as np",
    "math": "import math",
}


def likely_cause(text, batch=0, latent_dim=0):
    """Return the cause of an error as a clause without a full stop, or "" if the error is clear enough.

    text: of the error; batch: the number of pictures or codes in the call, 0 if unknown; latent_dim: of the model.
    """
    for pattern, cause in CAUSES:
        match = re.search(pattern, text)
        if match and (found := cause(match, batch, latent_dim) if callable(cause) else cause):
            return found
    return ""


def explain_product(match, batch, latent_dim):
    """A matrix product of [rows, got] with a Linear layer built for `wanted` inputs."""
    rows, got, wanted = (int(match[group]) for group in (1, 2, 3))
    built = f"a Linear layer is built for {wanted} inputs and gets {got}"
    if batch and rows == 1 and got == batch * wanted:
        return "x.flatten() joins the pictures of a batch into one row: write x.flatten(1)"
    if got == 28 and wanted != 28 and rows != batch:
        return f"{built}, one row of a picture: flatten the picture first, x.flatten(1)"
    if batch and rows > batch and rows % batch == 0 and rows * got == batch * wanted:
        return f"{built}: what arrives there is not flattened: .flatten(1), or nn.Flatten()"
    if batch and rows != batch and rows * got == batch * wanted:
        return written_batch(rows)
    if batch and got == batch and rows == wanted:
        return "the batch is in the second dimension: write x.view(-1, 784), or x.flatten(1)"
    if got == wanted + 10:
        return f"{built}: the ten columns of the one-hot label are joined, so the layer needs {wanted} + 10 inputs"
    if got == wanted - 10:
        return f"{built}: the ten columns of the one-hot label are missing, join them with torch.cat"
    if got < wanted and wanted - got < 10 and got not in (latent_dim, PICTURE):
        return f"{built}: a one-hot label without num_classes=10 has too few columns"
    if latent_dim and got in (latent_dim, latent_dim + 10):
        return (
            f"{built}, where a code of width latent_dim = {latent_dim} arrives: build it with latent_dim "
            "(latent_dim hard-coded, or the wrong layer is called)"
        )
    return f"{built}: change its first argument, or the layer before it"


def explain_view(match, batch, _):
    """A view of `count` numbers with a shape that does not fit."""
    shape, count = [int(size) for size in re.findall(r"-?\d+", match[1])], int(match[2])
    if not batch or count % batch:
        return "a batch size is written into .view or .reshape: use -1, or len(x)" if -1 not in shape else ""
    width = count // batch
    fixed = 1
    for size in shape:
        fixed *= abs(size)
    if -1 in shape[1:] and shape[0] != batch:
        return written_batch(shape[0])
    if -1 in shape or shape[0] == batch:
        per_row = fixed // (1 if -1 in shape else batch)
        if per_row == PICTURE:
            return (
                f"there are {width} numbers per picture where 784 = 28 · 28 are expected: a layer is {width} wide, and "
                "should be 784"
            )
        if len(shape) == 1:
            return "the view joins the batch: write x.view(-1, 784), or x.flatten(1)"
        return f"there are {width} numbers per picture, and the view asks for {per_row}"
    if fixed == width:
        return f"the batch is missing in .view({', '.join(map(str, shape))}): write -1 as its first number"
    return written_batch(shape[0])


def written_batch(size):
    number = f" as {size}" if size > 8 else ""  # a small one comes from the inside of a layer
    return f"a batch size is written into .view, .reshape or .expand{number}: use -1, or len(x)"


def explain_sizes(match, batch, _):
    """Two tensors of different sizes, one of which may be a hard-coded batch size."""
    first, second = int(match[1]), int(match[2])
    if batch and batch in (first, second) and first != second:
        other = second if first == batch else first
        if other not in (1, 10, 28, PICTURE):
            return f"a batch size is written into the code as {other}: use len(x)"
    if {first, second} == {28, PICTURE} or PICTURE in (first, second):
        return "one side is a picture [28, 28] and the other is flattened to [784]: give both the same shape"
    return "two shapes do not match"


def explain_cat(match, batch, latent_dim):
    if match[1] == "0":
        return "torch.cat joins along the batch by default: write torch.cat([...], dim=1)"
    return explain_sizes(re.search(r"size (\d+) but got size (\d+)", match[0]), batch, latent_dim)


def explain_channels(match, *_):
    if re.search(r"\[\d+, \d+\]|input\[\d+, \d+\]", match[0]):
        return "a convolution gets flattened pictures: it expects [B, 1, 28, 28]"
    if sizes := re.search(r"\[\d+, 3, 32, 32\] to have (\d+) channels", match[0]):
        return f"a convolution is built for {sizes[1]} channels and gets the three colours"
    return "a convolution expects [B, 1, 28, 28]: x.unsqueeze(1)"


def explain_name(match, *_):
    name = match[1]
    if name in IMPORTS:
        return f"the import is missing at the top of the file: {IMPORTS[name]}"
    if name in ("encode", "decode", "reparameterize", "forward", "training"):
        return f"write self.{name}"
    if re.search(rf"^{name} = ", (ROOT / "model.py").read_text(encoding="utf-8"), re.MULTILINE):
        return f"{name} is a constant at the top of model.py: copy that line too"
    return f"{name} is used before it is given a value, is misspelled, or lacks its self"


def explain_arguments(match, *_):
    """Too many, too few or unknown arguments of a function."""
    text = match[0]
    name = re.search(r"(\w+)\(\)", text)
    name = name[1] if name else "the function"
    if re.search(r"(Sigmoid|ReLU|Tanh|Softplus|SiLU|GELU|Flatten|ELU)\.__init__\(\)", text):
        return "a layer is called like a function: nn.Sigmoid()(h), or torch.sigmoid(h)"
    if "missing" in text and "labels" in text:
        return f"{name} is called without the labels: self.{name}(..., labels)"
    if re.search(r"takes 0 positional arguments but 1|takes 1 positional argument but 2|takes 2 .* but 3", text):
        return f"self is missing as the first parameter of {name}, or it is called with one argument too many"
    if "latent_dim" in text:
        return "the class is called with latent_dim: def __init__(self, latent_dim=20, ...)"
    if "'var'" in text:
        return "vae_loss is called with var: def vae_loss(recon_x, x, mu, log_var, var=0.5)"
    return f"{name} is called with arguments that its definition lacks: keep those of the file that you were given"


def explain_attribute(match, *_):
    owner, name = match[1], match[2]
    if owner == "NoneType":
        return "a function returned nothing: its return is missing"
    if owner in ("tuple", "list"):
        return "a function returned several values, and they are used as one tensor: unpack them first"
    return f"self.{name} is used, and __init__ defines no {name}: a name is misspelled or a layer is missing"


CAUSES = (  # the first entry counts whose pattern is found and whose cause is not empty
    (r"CUDA|NVIDIA|cuda|on the same device", "a GPU is written into the code (.cuda(), device='cuda'): leave it out"),
    (r"before Module\.__init__\(\) call", "super().__init__() is missing as the first line of __init__"),
    (r"is not a Module subclass", "nn.Sequential takes layers: nn.Sequential(*layers), and nn.ReLU() with parentheses"),
    (r"expected [^ ]*(?:3D|4D|input).*?(?:channels|3D|4D|unbatched).*", explain_channels),
    (r"Expected (?:3D|4D).*", explain_channels),
    (r"mat1 and mat2 shapes cannot be multiplied \((\d+)x(\d+) and (\d+)x\d+\)", explain_product),
    (r"view size is not compatible", "use .reshape in place of .view"),
    (r"shape '\[([-\d, ]+)\]' is invalid for input of size (\d+)", explain_view),
    (r"except in dimension (\d+)\. Expected size \d+ but got size \d+", explain_cat),
    (r"same number of dimensions", "labels are [B] and cannot be joined to rows: one_hot(labels, 10) has [B, 10]"),
    (r"inplace operation", "a tensor is changed in place before its gradient is computed: avoid +=, relu_, exp_"),
    (r"does not require grad", "the gradient is cut by .detach(), .data, .item() or torch.no_grad()"),
    (r"numpy\(\) on Tensor that requires grad", "stay in torch: numpy cuts the gradient"),
    (r"Class values must be|index out of range in self", "there are ten labels, 0 to 9: one_hot needs num_classes=10"),
    (r"one_hot\(\).*NoneType", "the labels are None: pass them on, self.decode(z, labels)"),
    (r"one_hot is only applicable|Expected tensor for argument .*indices", "labels are int64: keep them integers"),
    (r"converted to Scalar|only integer tensors of a single|only one element|single element", "labels come as a batch"),
    (r"Boolean value of Tensor", "an if cannot ask a whole batch: labels come as a batch, use tensor operations"),
    (r"cannot unpack non-iterable NoneType", "a function returned nothing: its return is missing"),
    (r"must be Tensor, not NoneType", "a function returned nothing (its return is missing), or the labels are missing"),
    (r"must be Tensor, not tuple", "a function returned several values, and they are used as one tensor"),
    (r"must be Tensor, not (?!int|float|list)\w+", "a layer is used without parentheses: nn.ReLU(), then call it"),
    (r"unpack", "encode returns two values, mu and log_var; forward three: recon, mu, log_var"),
    (r"\S+ (?:got an unexpected keyword|missing \d|takes \d).*", explain_arguments),
    (r"size of tensor a \((\d+)\) must match the size of tensor b \((\d+)\)", explain_sizes),
    (r"indexing tensors could not be broadcast together with shapes \[(\d+)\], \[(\d+)\]", explain_sizes),
    (r"Sizes of tensors must match|size mismatch", "two shapes do not match"),
    (r"Dimension out of range", "the tensor does not have such a dimension: pictures are [B, 28, 28]"),
    (r"must return a picture tensor, got NoneType|got NoneType", "its return is missing"),
    (r"must return a picture tensor, got tuple", "it returns several values: return the picture alone"),
    (r"got \S+ \[28, 28, \d+\]", "the picture is transposed: the batch is the first dimension"),
    (r"for a batch of 1, got \S+ \[28, 28\]", "squeeze() without a dimension, which removes a batch of one as well"),
    (r"got \S+ \[\d+, 28, 28, 1\]", "the channel is the last dimension: view(-1, 28, 28)"),
    (
        r"a batch of (\d+), got \S+ \[(?!\1,)\d+, (?:1, )?28, 28\]",
        "view(-1, 28, 28) of rows that are not 784 wide changes the number of pictures",
    ),
    (r"must return pictures .* got \S+ \[\d+, (\d+)\]", "the last layer does not have 784 = 28 · 28 outputs"),
    (r"must return (?:mu|log_var) .* got \S+ \[\d+, 28, \d+\]", "the picture is not flattened: x.flatten(1)"),
    (r"must return (?:mu|log_var) .* got \S+ \[\d+, \d+, 1, 1\]", "flatten what the convolution returns: .flatten(1)"),
    (
        r"must return pictures .* got \S+ \[\d+, (?:1, )?(?!28, 28\])(\d+), (\d+)\]",
        lambda match, *_: (
            f"the layers give {match[1]} x {match[2]} pictures: change kernel_size, stride, padding or "
            "output_padding of a (transposed) convolution, or the last view"
        ),
    ),
    (r"cannot assign .* as child module", "a tensor is assigned to the name of a layer: give it a different name"),
    (r"more than 1 value per channel", "BatchNorm uses batch statistics in eval mode: keep track_running_stats on"),
    (r"'(\w+)' object has no attribute '(\w+)'", explain_attribute),
    (r"has no attribute", "a name is misspelled, or does not exist in this module"),
    (r"name '(\w+)' is not defined", explain_name),
    (r"local variable '(\w+)'", explain_name),
    (r"maximum recursion depth", "a method calls itself, such as self.forward inside forward"),
    (r"is not callable", "a value is called like a function: an operator is missing, or a name is used twice"),
    (r"unsupported operand type.*NoneType", "a function returned nothing: its return is missing"),
    (r"all elements of input should be between 0 and 1", "recon_x leaves [0, 1]: end the decoder with a sigmoid"),
    (r"No module named", "only the packages of requirements.txt can be imported"),
    (r"Unexpected key|Missing key", "a layer is created outside __init__, so it is not in every model's state_dict"),
    (r"must have the same dtype|expected scalar type|expected m1 and m2", "keep to float32: labels.float()"),
)
