"""The papers' networks: multiply-accumulates of convolutions as the papers have them, to every digit that they print."""

from __future__ import annotations

import pytest
import torch

from featcodec.bench.reference_models import resnet18, resnet50, vgg16
from featcodec.planning import macs

PICTURE = torch.zeros(1, 3, 32, 32)
# layer -> multiply-accumulates up to its end: BottleNet++'s ResNet-50 and VGG-16, the three-step framework's ResNet-18
RESNET50 = {
    "conv1": "1.77e+06",
    **dict(zip(("layer1.0", "layer1.1", "layer1.2"), ("7.73e+07", "1.486e+08", "2.199e+08"), strict=True)),
    **{f"layer2.{i}": f"{v}e+08" for i, v in enumerate(("3.415", "4.128", "4.841", "5.554"))},
    **{"layer3.0": "6.771e+08", "layer3.5": "1.034e+09"},
    **{f"layer4.{i}": f"{v}e+09" for i, v in enumerate(("1.155", "1.227", "1.298"))},
}
VGG16_AT = (2, 6, 9, 13, 16, 19, 23, 26, 29, 33, 36, 39, 43)
VGG16_MACS = """
1.77e+06 3.95e+07 5.84e+07 9.61e+07 1.150e+08 1.528e+08 1.905e+08 2.094e+08 2.471e+08 2.849e+08 2.943e+08 3.038e+08 3.132e+08
"""
VGG16 = {f"features.{at}": macs_of for at, macs_of in zip(VGG16_AT, VGG16_MACS.split(), strict=True)}
RESNET18 = {"conv1": "1.77e+06", "layer1": "1.528e+08", "layer2": "2.870e+08", "layer3": "4.212e+08", "layer4": "5.554e+08"}


@pytest.mark.parametrize(
    ("build", "wanted"), [(resnet50, RESNET50), (vgg16, VGG16), (resnet18, RESNET18)], ids=["resnet50", "vgg16", "resnet18"]
)
def test_convolutions_up_to_each_split_cost_what_the_papers_say(build, wanted):
    found = macs(build(), PICTURE, kinds="conv")
    digits = {name: len(text.split("e")[0].replace(".", "")) - 1 for name, text in wanted.items()}
    assert {name: f"{found[name]:.{digits[name]}e}" for name in wanted} == wanted


def test_linear_layers_count_only_where_all_kinds_are_asked_for():
    model = vgg16(classes=7)
    linear = 512 * 4096 + 4096 * 4096 + 4096 * 7
    assert macs(model, PICTURE)[""] - macs(model, PICTURE, kinds="conv")[""] == linear


def test_there_are_two_kinds():
    with pytest.raises(ValueError, match="kinds of multiply-accumulates are all and conv, got 'fc'"):
        macs(resnet18(), PICTURE, kinds="fc")
