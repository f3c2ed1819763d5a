"""The operations that a part may consist of: a list of names, for aten has others that open files or replace storages."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch

from featcodec.errors import PartError

GETITEM = "getitem"  # one of the results of an operation that has several

# Their results are always tensors of their own, which an operation may write into that changes its first argument.
_FRESH = """
_native_batch_norm_legit_no_training.default add.Scalar add.Tensor addmm.default avg_pool2d.default baddbmm.default
batch_norm.default bmm.default cat.default conv1d.default conv1d.padding conv2d.default conv2d.padding conv3d.default
conv_transpose1d.default conv_transpose2d.input conv_transpose3d.input convolution.default div.Scalar div.Tensor elu.default
gelu.default group_norm.default hardsigmoid.default hardswish.default hardtanh.default instance_norm.default
layer_norm.default leaky_relu.default linear.default matmul.default max_pool2d.default mish.default mm.default mul.Scalar
mul.Tensor native_group_norm.default native_layer_norm.default relu.default sigmoid.default silu.default sub.Scalar sub.Tensor
tanh.default upsample_bicubic2d.vec upsample_bilinear2d.vec upsample_nearest2d.vec
"""

_REST = """
__and__.Scalar __and__.Tensor __or__.Scalar __or__.Tensor __xor__.Scalar __xor__.Tensor _log_softmax.default _softmax.default
_to_copy.default abs.default acos.default acosh.default adaptive_avg_pool1d.default adaptive_avg_pool2d.default
adaptive_avg_pool3d.default adaptive_max_pool1d.default adaptive_max_pool2d.default addcdiv.default addcmul.default
adjoint.default all.default all.dim amax.default amin.default angle.default any.default any.dim any.dims arange.default
arange.start arange.start_step argmax.default argmin.default argsort.default argsort.stable asin.default asinh.default
atan.default atan2.default atanh.default avg_pool1d.default avg_pool3d.default bilinear.default bitwise_and.Scalar
bitwise_and.Tensor bitwise_left_shift.Tensor bitwise_not.default bitwise_or.Scalar bitwise_or.Tensor
bitwise_right_shift.Tensor bitwise_xor.Scalar bitwise_xor.Tensor broadcast_to.default bucketize.Tensor cdist.default
ceil.default celu.default channel_shuffle.default chunk.default clamp.Tensor clamp.default clamp_max.Tensor clamp_max.default
clamp_min.Tensor clamp_min.default clone.default col2im.default complex.default conj.default constant_pad_nd.default
contiguous.default conv3d.padding copy.default copysign.Tensor cos.default cosh.default cosine_similarity.default
cross.default cumprod.default cumsum.default deg2rad.default diag_embed.default diagonal.default diff.default div.Scalar_mode
div.Tensor_mode dot.default dropout.default einsum.default embedding.default eq.Scalar eq.Tensor erf.default erfc.default
erfinv.default exp.default exp2.default expand.default expand_as.default expm1.default eye.default eye.m fft_fft.default
fft_fft2.default fft_fftshift.default fft_ifft.default fft_ifft2.default fft_ifftshift.default fft_irfft.default
fft_irfft2.default fft_rfft.default fft_rfft2.default fill.Scalar fill.Tensor flatten.using_ints flip.default floor.default
floor_divide.Scalar floor_divide.default fmod.Scalar fmod.Tensor frac.default frobenius_norm.dim full.default
full_like.default gather.default ge.Scalar ge.Tensor glu.default grid_sampler.default grid_sampler_2d.default gru.input
gru_cell.default gt.Scalar gt.Tensor hardshrink.default hypot.default im2col.default imag.default index.Tensor
index_add.default index_copy.default index_fill.int_Scalar index_put.default index_select.default isfinite.default
isinf.default isnan.default kthvalue.default le.Scalar le.Tensor lerp.Scalar lerp.Tensor linalg_norm.default
linalg_vector_norm.default linspace.default log.default log10.default log1p.default log2.default log_sigmoid.default
log_softmax.int logaddexp.default logical_and.default logical_not.default logical_or.default logical_xor.default logit.default
logsumexp.default lstm.input lstm_cell.default lt.Scalar lt.Tensor mT.default masked_fill.Scalar masked_fill.Tensor
max.default max.dim max.other max_pool1d.default max_pool2d_with_indices.default max_pool3d.default maximum.default
mean.default mean.dim median.default median.dim meshgrid.default meshgrid.indexing min.default min.dim min.other
minimum.default movedim.int movedim.intlist mv.default nan_to_num.default narrow.default ne.Scalar ne.Tensor neg.default
negative.default new_full.default new_ones.default new_zeros.default norm.Scalar norm.ScalarOpt_dim norm.ScalarOpt_dim_dtype
numpy_T.default one_hot.default ones.default ones_like.default outer.default pad.default pairwise_distance.default
permute.default pixel_shuffle.default pixel_unshuffle.default polar.default pow.Scalar pow.Tensor_Scalar pow.Tensor_Tensor
prelu.default prod.default prod.dim_int rad2deg.default real.default reciprocal.default reflection_pad1d.default
reflection_pad2d.default relu6.default remainder.Scalar remainder.Tensor repeat.default repeat_interleave.self_int
replication_pad1d.default replication_pad2d.default reshape.default rms_norm.default rnn_relu.input rnn_tanh.input
roll.default rot90.default round.decimals round.default rsqrt.default rsub.Scalar rsub.Tensor scalar_tensor.default
scaled_dot_product_attention.default scatter.src scatter.value scatter_add.default scatter_reduce.two searchsorted.Tensor
select.int select_scatter.default selu.default sgn.default sign.default signbit.default sin.default sinc.default sinh.default
slice.Tensor slice_scatter.default softmax.int softplus.default softshrink.default sort.default sort.stable
special_expit.default split.Tensor split.sizes split_with_sizes.default sqrt.default square.default squeeze.default
squeeze.dim squeeze.dims stack.default std.correction std.default std.dim std_mean.correction sum.default sum.dim_IntList
swapaxes.default t.default take_along_dim.default tan.default tensor_split.indices tensor_split.sections threshold.default
tile.default to.device to.dtype to.dtype_layout to.other topk.default transpose.int tril.default triu.default
true_divide.Scalar true_divide.Tensor trunc.default type_as.default unbind.int unflatten.int unfold.default unsqueeze.default
upsample_bicubic2d.default upsample_bilinear2d.default upsample_linear1d.vec upsample_nearest1d.vec upsample_nearest2d.default
upsample_nearest3d.vec upsample_trilinear3d.vec var.correction var.default var.dim var_mean.correction var_mean.dim
view.default view.dtype view_as.default view_as_complex.default view_as_real.default where.Scalar where.ScalarOther
where.ScalarSelf where.self xlogy.Tensor zeros.default zeros_like.default
"""

# They write into their first argument, whose like without the underscore is on the list, too.
_WRITING = """
add_.Scalar add_.Tensor clamp_.default clamp_max_.default clamp_min_.default div_.Scalar div_.Tensor elu_.default
gelu_.default hardsigmoid_.default hardswish_.default hardtanh_.default leaky_relu_.default mish_.default mul_.Scalar
mul_.Tensor relu_.default sigmoid_.default silu_.default sub_.Scalar sub_.Tensor tanh_.default
"""


def _named(words: str) -> frozenset[str]:
    return frozenset(f"aten.{word}" for word in words.split())


FRESH = _named(_FRESH)
WRITING = _named(_WRITING)
ALLOWED = FRESH | WRITING | _named(_REST)


@lru_cache(maxsize=1024)
def resolve(name: str) -> Any:
    """Return the operation of a name, `torch.ops.aten...` with its overload.

    Raises
    ------
    PartError
        It is not on the list, or this torch has none of this name.
    """
    if name not in ALLOWED:
        raise PartError(f"a part may not use the operation {name[:80]!r}: it is not on the list (featcodec.parts.operations)")
    _, packet, overload = name.split(".")
    found = getattr(getattr(torch.ops.aten, packet, None), overload, None)
    if found is None:
        raise PartError(f"torch {torch.__version__} has no operation {name!r}")
    return found


def check_call(name: str, args: list[Any], kwargs: dict[str, Any]) -> None:
    """Raise PartError where an operation does not take so many arguments, or not by these names."""
    schema = resolve(name)._schema.arguments
    positional = [argument.name for argument in schema if not argument.kwarg_only]
    if len(args) > len(positional):
        raise PartError(f"{name} takes {len(positional)} arguments, the part gives {len(args)}")
    unknown = set(kwargs) - {argument.name for argument in schema} | set(kwargs) & set(positional[: len(args)])
    if unknown:
        raise PartError(f"{name} takes no argument {sorted(unknown)[0][:80]!r} by name there")


def functional(name: str) -> str:
    """Return the operation that gives what a writing one leaves in its first argument."""
    packet, overload = name.rsplit(".", 1)
    return f"{packet.removesuffix('_')}.{overload}"


def writing(name: str) -> str | None:
    """Return the operation that does the same in its first argument's place; None where none is on the list."""
    packet, overload = name.rsplit(".", 1)
    found = f"{packet}_.{overload}"
    return found if found in WRITING else None
