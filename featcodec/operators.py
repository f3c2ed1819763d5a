"""Multiply-accumulates of one torch operator, from the shapes it ran on."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils.flop_counter import flop_registry

# Names of torch's operators that do the work of a matrix product or more; asked where no formula is known. Elementwise work,
# reductions, reshaping, normalising, pooling, gathering and resampling have other names.
_PRODUCT = re.compile(
    r"(?<![a-z])([a-z]*(mm|mv|dot|matmul)|conv(\dd|olution)?|linear|trilinear|attention|transformer|rnn(?!_flatten)"
    r"|(?<!fused_)(lstm|gru)|[cp]dist|euclidean|(sp)?solve|cholesky|geqrf|ormqr)(?![a-z0-9])"
    r"|^_fft_|linalg_(?!vector_norm|cross|check|diagonal|vander)"
)
_TORCH = ("aten", "prim", "prims")
_NO_ARITHMETIC = ("profiler", "c10d", "_c10d_functional")


def operator_macs(func: Any, output: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
    """Return what a call of an operator cost; None where no formula is known.

    Parameters
    ----------
    func, args, kwargs
        As a TorchDispatchMode gets them.
    output
        What the operator returned.
    """
    namespace, _, op = operator_name(func).rpartition("::")
    op = op.rstrip("_")  # in place
    nested = has_nested(args)
    if namespace == "aten" and op in (_NESTED if nested else _FORMULAS):
        return int(_FORMULAS[op](output, args))
    flops = None if nested else flop_registry.get(getattr(func, "overloadpacket", func))
    return None if flops is None else int(flops(*args, **kwargs, out_val=output)) // 2


def operator_name(func: Any) -> str:
    """Return an operator's name without its overload: "aten::mm"."""
    return str(func.name()).partition(".")[0]


def may_be_product(name: str) -> bool:
    """Whether an operator without a formula may cost as much as a matrix product: of other libraries' nothing is known."""
    namespace, _, op = name.rpartition("::")
    return _PRODUCT.search(op) is not None if namespace in _TORCH else namespace not in _NO_ARITHMETIC


def has_nested(args: tuple[Any, ...]) -> bool:
    """Whether an argument is a nested tensor, which has no shape."""
    return any(isinstance(x, Tensor) and x.is_nested for x in args)


def _rows_by_columns(output: Any, args: tuple[Any, ...]) -> int:
    return int(output.numel() * args[0].shape[-1])


def _added_rows_by_columns(output: Any, args: tuple[Any, ...]) -> int:
    return int(output.numel() * args[1].shape[-1])


def _summed_products(output: Any, args: tuple[Any, ...]) -> int:
    return int(output.numel() * args[1].shape[0] * args[1].shape[2])


def _grouped_products(output: Any, args: tuple[Any, ...]) -> int:
    """Rows that are shared out among matrices, or columns, or what is summed over; or a product for each group."""
    rows, columns = args[0], args[1]
    pairs = rows.shape[0] if rows.ndim == columns.ndim == 3 else 1
    return int(pairs * rows.shape[-2] * rows.shape[-1] * columns.shape[-1])


def _linear(output: Any, args: tuple[Any, ...]) -> int:
    return int(args[0].numel() * args[1].shape[0])


def _scaled_dot_product(output: Any, args: tuple[Any, ...]) -> int:
    query, key, value = args[:3]
    return int(query.shape[:-1].numel() * key.shape[-2] * (query.shape[-1] + value.shape[-1]))


def _one_recurrent_layer(output: Any, args: tuple[Any, ...]) -> int:
    return _steps(args[0]) * int(args[1].numel() + args[2].numel())


def _recurrent_layers(output: Any, args: tuple[Any, ...]) -> int:
    # of each layer and direction: two matrices, two biases where there are any (under autocast with two axes), a projection
    matrices = [weight for i, weight in enumerate(args[1]) if args[2] < 4 or i % args[2] not in (2, 3)]
    return _steps(args[0]) * sum(int(weight.numel()) for weight in matrices)


def _attention(output: Any, args: tuple[Any, ...]) -> int:
    query, key, _, width = args[:4]
    pairs = zip(_lengths(query), _lengths(key), strict=True)
    # projections of queries, output, keys and values; queries by keys, weights by values
    return int(sum(2 * width * width * (q + k) + 2 * width * q * k for q, k in pairs))


def _encoder_layer(output: Any, args: tuple[Any, ...]) -> int:
    tokens, width, up, down = args[0], args[1], args[14], args[16]
    return _attention(output, (tokens, tokens, tokens, width)) + sum(_lengths(tokens)) * int(up.numel() + down.numel())


def _steps(x: Tensor) -> int:
    return x.numel() // x.shape[-1]


def _lengths(tokens: Tensor) -> list[int]:
    """How many tokens each sample of (B, T, D) has; those of a nested tensor differ."""
    return [len(x) for x in tokens.unbind()] if tokens.is_nested else [tokens.shape[1]] * tokens.shape[0]


# What torch's registry lacks, knows for some overloads only, or refuses (grouped queries, in older versions).
_FORMULAS: dict[str, Callable[[Any, tuple[Any, ...]], int]] = {
    **dict.fromkeys(("mm", "bmm", "mv", "dot", "vdot", "_int_mm", "_scaled_mm", "affine_grid_generator"), _rows_by_columns),
    **dict.fromkeys(("_weight_int4pack_mm", "_weight_int4pack_mm_for_cpu", "_weight_int8pack_mm"), _rows_by_columns),
    **dict.fromkeys(("addmm", "addmv", "baddbmm", "_addmm_activation"), _added_rows_by_columns),
    "addbmm": _summed_products,
    "_grouped_mm": _grouped_products,
    "linear": _linear,  # nested: else it comes as a product
    "_scaled_dot_product_flash_attention_for_cpu": _scaled_dot_product,
    "_scaled_dot_product_flash_attention": _scaled_dot_product,
    "_scaled_dot_product_efficient_attention": _scaled_dot_product,
    "_scaled_dot_product_cudnn_attention": _scaled_dot_product,
    "_scaled_dot_product_fused_attention_overrideable": _scaled_dot_product,
    "mkldnn_rnn_layer": _one_recurrent_layer,
    "_cudnn_rnn": _recurrent_layers,
    "miopen_rnn": _recurrent_layers,
    "_native_multi_head_attention": _attention,
    "_transformer_encoder_layer_fwd": _encoder_layer,
}
_NESTED = ("linear", "_native_multi_head_attention", "_transformer_encoder_layer_fwd")
