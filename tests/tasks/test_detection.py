"""Tests of the detection model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models import ResNet, resnet101
from torchvision.models.resnet import BasicBlock

from smears import analytic_smear, random_smear
from smearsynth.errors import DataError, ModelError, OptionError
from smearsynth.metrics.matching import box_ious
from smearsynth.tasks.detection import Detection
from smearsynth.tasks.fitting import FitRun, fit
from smearsynth.tasks.registry import load_model
from task_models import CLASS_NAMES, same_weights


@pytest.fixture(scope="module")
def trained_model() -> Detection:
    """A small model of two classes, trained briefly on smears 0 to 7; it localises cells."""
    model = Detection.preset("tiny", class_names=CLASS_NAMES, steps=80, batch=2, learning_rate=3e-3, seed=0)
    fit(model, [random_smear(k, class_names=CLASS_NAMES) for k in range(8)], validation=[])
    return model


# The network.


def test_the_network_of_the_paper_is_resnet_101_with_a_feature_pyramid() -> None:
    config = Detection.presets["paper"]
    with torch.device("meta"):
        network = Detection.build(type("", (), {"config": config})())  # drawing the weights would take seconds
        original = resnet101()
    body = {name: tuple(t.shape) for name, t in network.backbone.body.named_parameters()}
    assert body == {n: tuple(t.shape) for n, t in original.named_parameters() if not n.startswith("fc.")}
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())


def test_images_are_not_resized() -> None:
    model = Detection.preset("tiny")
    shapes = []
    model.network.backbone.register_forward_pre_hook(lambda module, inputs: shapes.append(inputs[0].shape))
    model.predict(np.zeros((64, 96, 3), np.uint8))
    assert shapes == [(1, 3, 64, 96)]


def test_more_than_a_hundred_cells_can_be_detected() -> None:
    model = Detection.preset("tiny")
    model.candidates(np.zeros((40, 50, 3), np.uint8))
    assert model.network.roi_heads.detections_per_img >= 1000
    model.network.eval()
    assert model.network.rpn.post_nms_top_n() >= 1000


def test_the_limits_grow_with_the_area_of_the_field(
    trained_model: Detection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A field of nine times the area, with nine times the cells, has nine times the proposals."""
    smear = random_smear(100, class_names=CLASS_NAMES)
    tiled_image = np.tile(smear.image, (3, 3, 1))
    monkeypatch.setattr("smearsynth.tasks.detection._MAX_CELLS", 8)
    monkeypatch.setattr("smearsynth.tasks.detection._REFERENCE_AREA", smear.labels.size)
    # Without a threshold every proposal counts: the number above a score depends on the machine of the training.
    monkeypatch.setattr(trained_model.network.roi_heads, "score_thresh", 0.0)
    single, tiled = trained_model.candidates(smear.image), trained_model.candidates(tiled_image)
    assert 4 < len(single.scores) <= 8
    assert 4 * len(single.scores) < len(tiled.scores) <= 8 * 9
    # a smaller field afterwards has the smaller limit again
    assert len(trained_model.candidates(smear.image[:32, :32]).scores) <= 8


# Training and prediction.


def test_a_trained_model_has_a_higher_ap_than_an_untrained_one(trained_model: Detection) -> None:
    test_smears = [random_smear(100 + k, class_names=CLASS_NAMES) for k in range(6)]
    trained = trained_model.evaluate(test_smears)
    untrained = Detection.preset("tiny", class_names=CLASS_NAMES).evaluate(test_smears)
    assert trained.metric == "ap"
    assert trained.ap50 is not None
    assert untrained.ap50 is not None
    assert trained.ap50 > 0.3 > untrained.ap50 + 0.2
    assert trained.value < trained.ap50
    tp, _, fn = trained.counts
    assert tp + fn == sum(smear.count for smear in test_smears)


def test_the_boxes_of_highest_score_overlap_the_cells_of_their_class(trained_model: Detection) -> None:
    smear = analytic_smear((70, 90), [(25, 30, 10), (60, 40, 10)], classes=[0, 1], class_names=CLASS_NAMES)
    candidates = trained_model.candidates(smear.image)
    for kind, true_box in enumerate(smear.boxes()):
        same_class = candidates.classes == kind
        best_box = candidates.boxes[same_class][candidates.scores[same_class].argmax()]
        assert box_ious(best_box[None], true_box[None])[0, 0] > 0.5


def test_a_prediction_contains_the_candidates_above_the_threshold(trained_model: Detection) -> None:
    image = random_smear(0, class_names=CLASS_NAMES).image
    candidates, prediction = trained_model.candidates(image), trained_model.predict(image)
    assert len(candidates.scores) > len(prediction.scores) > 0
    assert (prediction.scores >= 0.5).all()
    assert sum(prediction.counts().values()) == len(prediction.boxes) == (candidates.scores >= 0.5).sum()


def test_the_score_does_not_depend_on_the_order_of_the_classes(trained_model: Detection) -> None:
    smear = analytic_smear((70, 90), [(25, 30, 10), (60, 40, 10)], classes=[0, 1], class_names=CLASS_NAMES)
    reversed_order = replace(smear, classes=1 - smear.classes, class_names=CLASS_NAMES[::-1])
    unused_class = replace(smear, class_names=(*CLASS_NAMES, "platelet"))
    for equivalent in (reversed_order, unused_class):
        assert trained_model.evaluate([equivalent]).value == trained_model.evaluate([smear]).value


def test_class_names_must_be_a_list_of_names() -> None:
    model = Detection.preset("tiny", class_names=list(CLASS_NAMES))  # type: ignore[arg-type]
    assert model.config.class_names == CLASS_NAMES
    for invalid in ((), "red cell"):
        with pytest.raises(OptionError, match="class_names"):
            Detection.preset("tiny", class_names=invalid)  # type: ignore[arg-type]


def test_a_model_of_one_class_is_trained_on_cells_of_any_class() -> None:
    model = Detection.preset("tiny")
    model.network.train()
    assert torch.isfinite(model.loss([random_smear(2, class_names=CLASS_NAMES)]))
    with pytest.raises(
        DataError, match="the model knows red cell, white cell but not cell; read both with the same --classes"
    ):
        Detection.preset("tiny", class_names=CLASS_NAMES).loss([random_smear(2)])


def test_the_loss_of_a_field_without_cells_is_finite(trained_model: Detection) -> None:
    empty = analytic_smear((64, 64), [], class_names=CLASS_NAMES)
    trained_model.network.train()
    assert torch.isfinite(trained_model.loss([empty, random_smear(1, (64, 64), class_names=CLASS_NAMES)]))


def test_the_same_seed_gives_the_same_model() -> None:
    smears = [random_smear(k) for k in range(3)]
    models = [Detection.preset("tiny", steps=3, seed=seed) for seed in (5, 5, 6)]
    for model in models:
        torch.manual_seed(torch.seed())  # proposals must not depend on the global generator
        fit(model, smears)
    first, same_seed, other_seed = models
    assert same_weights(first, same_seed)
    assert not torch.equal(first.network.rpn.head.cls_logits.weight, other_seed.network.rpn.head.cls_logits.weight)


def test_an_interrupted_run_continues_bit_identically(tmp_path: Path) -> None:
    smears = [random_smear(k) for k in range(6)]
    uninterrupted, resumed = (Detection.preset("tiny", steps=4, class_names=("cell",)) for _ in range(2))
    report = fit(uninterrupted, smears, FitRun(tmp_path / "uninterrupted"))
    fit(Detection.preset("tiny", steps=4), smears, FitRun(tmp_path / "resumed", time_limit=0))
    assert fit(resumed, smears, FitRun(tmp_path / "resumed")) == report
    for model in (resumed, load_model(tmp_path / "resumed")):
        assert same_weights(uninterrupted, model)


# Pretrained weights.


def test_pretrained_weights_are_read_from_a_file(tmp_path: Path) -> None:
    resnet = ResNet(BasicBlock, [1, 1, 1, 1])
    torch.save(resnet.state_dict(), tmp_path / "resnet.pth")
    model = Detection.pretrained(tmp_path / "resnet.pth", "tiny", steps=2)
    assert torch.equal(model.network.backbone.body.layer2[0].conv1.weight, resnet.layer2[0].conv1.weight)
    fit(model, [random_smear(0)], FitRun(tmp_path / "model"))
    assert load_model(tmp_path / "model").config.network.norm == "frozen"  # type: ignore[attr-defined]


@pytest.mark.parametrize("time_limit", [None, 0])
def test_a_folder_of_other_pretrained_weights_is_an_error(tmp_path: Path, time_limit: float | None) -> None:
    for name in "ab":
        torch.save(ResNet(BasicBlock, [1, 1, 1, 1]).state_dict(), tmp_path / name)
    folder, smears = tmp_path / "model", [random_smear(0)]
    run = FitRun(folder, time_limit=time_limit)
    fit(Detection.pretrained(tmp_path / "a", "tiny", steps=2), smears, run)
    with pytest.raises(ModelError, match="contains a model with weights = "):
        fit(Detection.pretrained(tmp_path / "b", "tiny", steps=2), smears, run)
    assert fit(Detection.pretrained(tmp_path / "a", "tiny", steps=2), smears, FitRun(folder)).finished


@pytest.mark.parametrize("content", [None, b"", b"no pickle", {"conv1.weight": torch.zeros(2)}])
def test_invalid_weight_files_are_errors(tmp_path: Path, content: object) -> None:
    file = tmp_path / "resnet.pth"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        torch.save(content, file)
    message = "no such weight file" if content is None else "not the weights of this backbone"
    with pytest.raises(ModelError, match=f"resnet.pth: {message}"):
        Detection.pretrained(file, "tiny")
